"""What is published of models that read gene sentences: prompts, organisms, numbers, settings.

One decision: the words of a prompt are a model's data, and stand here as its authors wrote them.
How a chat's turns are put together is said by the chat template in the model's own folder.

Sources: Cell2Sentence: Rizvi et al., 2025 (doi 10.1101/2025.04.14.648850) and the package
`cell2sentence` 1.2.0: `prompts/single_cell_cell_type_prediction_prompts.json`,
`prompt_formatter.py`, `tasks.py`. Models were trained on 15 wordings of a task, drawn by chance,
and so read any of them; the first is taken. The answer is " {cell_type}." and the end token.
Cell-o1: Fang et al., 2025 (arXiv 2506.02911), its model card, and `data/build_context.py`,
`data/match_qa.py`, `data/split_train_test.py` of ncbi-nlp/cell-o1.
CellReasoner: Cao et al., 2025 (doi 10.1101/2025.05.20.655112), and `s01.process_h5ad.py`,
`s02.build_dataset.py`, `utils.py`, `s03.inference.ipynb` of compbioNJU/CellReasoner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# Species by their names, and what the prompt of Cell2Sentence calls them.
HUMAN = MappingProxyType({"human": "Homo sapiens"})
ORGANISMS = MappingProxyType({"human": "Homo sapiens", "mouse": "Mus musculus"})


@dataclass(frozen=True, kw_only=True)
class Turns:
    """A prompt of two messages, with fields as in any template.

    Args:
        system: The system message.
        user: The user's.
        question: What its {question} says where nobody asks; "" if nothing is usual.
        removed: What is taken out of the chat template's text.
        begins: What the answer begins with, behind the chat template's text.
    """

    system: str
    user: str
    question: str = ""
    removed: str = ""
    begins: str = ""


@dataclass(frozen=True, kw_only=True)
class SentenceFamily:
    """A kind of models, as they are published.

    Args:
        name: What `--family` takes.
        title: For people.
        templates: Prompts by the names that `--template` takes; the first is the usual one.
        other_tasks: Tasks that have published prompts, and why they have no name here.
        cell_types: Names of those templates whose answer is the name of a cell type alone.
        top_genes: Most genes of a sentence where nobody says otherwise.
        organisms: Species that the models were trained on, and what the prompt calls them.
        separator: Between two genes.
        upper_case: Whether symbols are in upper case, whatever the file of cells has.
        listed: Whether genes stand in the order of a list that the model's folder has not.
        plain_answers: Whether answers stand in no tags.
        generation: Settings of texts where no file and no option says otherwise.
        passed: Settings that the authors' code passes to `generate`, whatever a file says.
    """

    name: str
    title: str
    templates: Mapping[str, str | Turns]
    other_tasks: Mapping[str, str] = field(default_factory=dict)
    cell_types: tuple[str, ...] = ()
    top_genes: int
    organisms: Mapping[str, str]
    separator: str = " "
    upper_case: bool = True
    listed: bool = False
    plain_answers: bool = False
    generation: Mapping[str, int] = field(
        # `generate`'s own, and room for any name of a cell type.
        default_factory=lambda: {"max_new_tokens": 100, "no_repeat_ngram_size": 0}
    )
    passed: Mapping[str, float | int] = field(default_factory=dict)

    @property
    def usual_template(self) -> str:
        """Name of the template that is taken where nobody says otherwise."""
        return next(iter(self.templates))

    @property
    def is_chat(self) -> bool:
        """Whether its prompts are put together by a chat template."""
        return any(isinstance(template, Turns) for template in self.templates.values())


DEFAULT = "cell-type"
# Cell2Sentence's prompts, by the names that `--template` takes.
TEMPLATES = MappingProxyType(
    {
        DEFAULT: (
            "The following is a list of {num_genes} gene names ordered by descending expression "
            "level in a {organism} cell. Your task is to give the cell type which this cell "
            "belongs to based on its gene expression.\n"
            "Cell sentence: {cell_sentence}.\n"
            "The cell type corresponding to these genes is:"
        ),
    }
)
# What its package takes where nobody says otherwise (`n_genes`).
TOP_GENES = 200
CELL2SENTENCE = SentenceFamily(
    name="cell2sentence",
    title="Cell2Sentence",
    templates=TEMPLATES,
    other_tasks=MappingProxyType(
        {
            "tissue": "it reads several cells at a time",
            "abstract": "it reads several cells at a time",
            "cell-generation": "it writes genes, and reads no cell",
        }
    ),
    cell_types=(DEFAULT,),
    top_genes=TOP_GENES,
    organisms=ORGANISMS,
)

# The question is the context of a donor's cells; the published ones end with a space. The labels
# are sorted there. 50 genes: `build_context.py`; greedy, at most 1,000 tokens: the model card.
CELL_O1 = SentenceFamily(
    name="cello1",
    title="Cell-o1",
    templates=MappingProxyType(
        {
            "puzzle": Turns(
                system=(
                    "You are an expert assistant specialized in cell type annotation. You will be "
                    "given a batch of N cells from the same donor, where each cell represents a "
                    "unique cell type. For each cell, the top expressed genes are provided in "
                    "descending order of expression. Using both the gene expression data and donor "
                    "information, determine the correct cell type for each cell. You will also "
                    "receive a list of N candidate cell types, and each candidate must be assigned "
                    "to exactly one cell. Ensure that you consider all cells and candidate types "
                    "together, rather than annotating each cell individually. Include your "
                    "detailed reasoning within <think> and </think> tags, and provide your final "
                    "answer within <answer> and </answer> tags. The final answer should be a "
                    "single string listing the assigned cell types in order, separated by ' | '."
                ),
                user=(
                    "Context: {question} \n\n{cells}\n\n"
                    "Match the cells above to one of the following cell types:\n{labels}"
                ),
            )
        }
    ),
    top_genes=50,
    organisms=HUMAN,
    separator=", ",
    upper_case=False,
    generation=MappingProxyType({"max_new_tokens": 1000, "no_repeat_ngram_size": 0}),
)

_MARKERS = (
    "These are highly expressed genes within a certain type of tumor cells; please annotate the "
    "cell type based on these marker genes. Please infer the cell type based on the marker genes, "
)
# The instruction is the system message, the genes are the user's. `run_inference` of `utils.py`
# takes every "<think>" out of the prompt: that which QwQ's chat template begins, and that of the
# instruction "... within the <think></think> tag." Then it begins a thought itself.
CELL_REASONER = SentenceFamily(
    name="cellreasoner",
    title="CellReasoner",
    templates=MappingProxyType(
        {
            "direct": Turns(
                system="{question}",
                user="{cell_sentence}",
                question=f"{_MARKERS}and directly give the final annotation result.",
                removed="<think>",
            ),
            "reasoning": Turns(
                system="{question}",
                user="{cell_sentence}",
                question=f"{_MARKERS}and place the reason within the </think> tag.",
                removed="<think>",
                begins="<think> ",
            ),
        }
    ),
    cell_types=("direct",),
    top_genes=1000,  # `seq_length`
    organisms=HUMAN,
    separator=", ",
    listed=True,
    plain_answers=True,
    passed=MappingProxyType({"max_new_tokens": 4096, "repetition_penalty": 1.1}),
)
FAMILIES = MappingProxyType(
    {family.name: family for family in (CELL2SENTENCE, CELL_O1, CELL_REASONER)}
)
