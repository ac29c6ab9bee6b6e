"""How the answers of this family become fields, and a phrase table.

One decision: an answer to the published prompt is the name of a cell type and a full stop. Answers
to a prompt from a file can be anything: they have fields only where rules are given.
"""

from __future__ import annotations

from c2t.runtime.fields.rules import RULES_VERSION, FieldRules, Sentence, Step

# " B cell.": the whole text is one sentence, which begins at its first letter.
CELL_TYPE_RULES = FieldRules(
    version=RULES_VERSION,
    sentences=(Sentence(begins=("",), steps=(Step(after=(" ", ""), field="cell_type"),)),),
)
NO_RULES = FieldRules(version=RULES_VERSION, sentences=())
