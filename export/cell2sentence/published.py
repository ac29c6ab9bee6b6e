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
        # Cell-o1 (Fang et al., 2025, arXiv 2506.02911; `data/match_qa.py`, `split_train_test.py`),
        # in the chat form of Qwen2.5. The question is the donor's context.
        "cello1": (
            "<|im_start|>system\n"
            "You are an expert assistant specialized in cell type annotation. You will be given a "
            "batch of N cells from the same donor, where each cell represents a unique cell type. "
            "For each cell, the top expressed genes are provided in descending order of "
            "expression. Using both the gene expression data and donor information, determine the "
            "correct cell type for each cell. You will also receive a list of N candidate cell "
            "types, and each candidate must be assigned to exactly one cell. Ensure that you "
            "consider all cells and candidate types together, rather than annotating each cell "
            "individually. Include your detailed reasoning within <think> and </think> tags, and "
            "provide your final answer within <answer> and </answer> tags. The final answer should "
            "be a single string listing the assigned cell types in order, separated by ' | '."
            "<|im_end|>\n<|im_start|>user\n"
            "Context: {question}\n\n{cells}\n\n"
            "Match the cells above to one of the following cell types:\n{labels}"
            "<|im_end|>\n<|im_start|>assistant\n"
        ),
    }
)
DEFAULT = "cell-type"
# Between two genes, where a prompt has something else than a space.
SEPARATORS = MappingProxyType({"cello1": ", "})
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
