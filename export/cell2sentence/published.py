"""What is published of the Cell2Sentence family: prompt, organisms, usual number of genes.

Source: Rizvi et al., 2025 (doi 10.1101/2025.04.14.648850) and the package `cell2sentence` 1.2.0:
`prompts/single_cell_cell_type_prediction_prompts.json`, `prompt_formatter.py`, `tasks.py`. Models
were trained on 15 wordings of a task, drawn by chance, and so read any of them; the first is taken.
The answer is " {cell_type}." and the end token.
"""

from __future__ import annotations

from types import MappingProxyType

# By the name that `--template` takes.
TEMPLATES = MappingProxyType(
    {
        "cell-type": (
            "The following is a list of {num_genes} gene names ordered by descending expression "
            "level in a {organism} cell. Your task is to give the cell type which this cell "
            "belongs to based on its gene expression.\n"
            "Cell sentence: {cell_sentence}.\n"
            "The cell type corresponding to these genes is:"
        ),
    }
)
DEFAULT = "cell-type"
# Tasks that have published prompts, and why they have no name here.
OTHER_TASKS = MappingProxyType(
    {
        "tissue": "it reads several cells at a time",
        "abstract": "it reads several cells at a time",
        "cell-generation": "it writes genes, and reads no cell",
    }
)
# What the package takes where nobody says otherwise (`n_genes`).
TOP_GENES = 200
# Species that the models were trained on, and what the prompt calls them.
ORGANISMS = MappingProxyType({"human": "Homo sapiens", "mouse": "Mus musculus"})
