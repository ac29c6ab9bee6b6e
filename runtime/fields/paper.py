"""The rules of the paper's caption, for bundles that carry none of their own.

Source: Cell2Text (arXiv 2509.24840), caption template: "This sample consists of a {cell type},
{definition}. It originates from the {tissue} of a normal {sex} | a {sex} with {disease} during {age
group}. This cell is associated with {pathway}. Additionally, it involves {pathway}."

Names of cell types may hold commas ("CD4-positive, alpha-beta T cell"), and so may definitions. A
comma before an article, or a word that begins a clause, surely ends a name: no name of the Cell
Ontology (3,324 of 2026-03) has one inside, and 93 % of its definitions begin so.
"""

from __future__ import annotations

from c2t.runtime.fields.rules import RULES_VERSION, FieldRules, Sentence, Step

NORMAL = "normal"
_ARTICLES = ("a ", "an ", "the ", "")
_CLAUSES = (
    *("a", "an", "a(n)", "any", "the", "one", "this", "these", "all", "that", "which", "who"),
    *("whose", "where"),
)

# Of the names with a comma. So a definition without an article is not taken for a name's end.
_NOT_IN_NAMES = (
    *(" that ", " which ", " whose ", " is ", " are ", " has ", " have ", " and ", " with "),
    *(" in ", " from ", " by ", " for ", " to ", " derived "),
)

CELL_TYPE = Sentence(
    begins=("This sample consists of ", "consists of "),
    steps=(
        Step(
            after=_ARTICLES,
            field="cell_type",
            ends=tuple(f", {word} " for word in _CLAUSES),
            may_end=(",", ";"),
            never=_NOT_IN_NAMES,
        ),
    ),
)
ORIGIN = Sentence(
    begins=("It originates from ", "originates from "),
    steps=(
        Step(after=_ARTICLES, field="tissue"),
        Step(after=(" of a ", " of an ")),
        Step(after=("normal ",), field="disease", means=NORMAL, optional=True),
        # "donor" is said of a person whose sex was not recorded.
        Step(
            field="sex",
            only={"female": "female", "male": "male", "donor": None, "unknown": None},
        ),
        Step(after=(" with ",), field="disease", optional=True),
        Step(after=(" during ",), field="age", optional=True),
    ),
)
PATHWAYS = Sentence(
    begins=("This cell is associated with ",), steps=(Step(field="pathways"),), repeats=True
)
MORE_PATHWAYS = Sentence(
    begins=("Additionally, it involves ",), steps=(Step(field="pathways"),), repeats=True
)
# Of names in MONDO: "St. Louis encephalitis".
ABBREVIATIONS = ("St", "Mt", "Dr", "no", "sp", "spp", "var", "cf", "vs", "e.g", "i.e")

PAPER_RULES = FieldRules(
    version=RULES_VERSION,
    sentences=(CELL_TYPE, ORIGIN, PATHWAYS, MORE_PATHWAYS),
    abbreviations=ABBREVIATIONS,
)
