"""How the answers of this family become fields, and a phrase table.

One decision: an answer to a published prompt is the name of a cell type, and of Cell2Sentence a
full stop. Other answers can be anything: they have fields only where rules are given.
"""

from __future__ import annotations

from c2t.runtime.fields.rules import RULES_VERSION, FieldRules, Sentence, Step

# " B cell.": the whole text is one sentence, which begins at its first letter.
CELL_TYPE_RULES = FieldRules(
    version=RULES_VERSION,
    sentences=(Sentence(begins=("",), steps=(Step(after=(" ", ""), field="cell_type"),)),),
)
# "B cell": the whole text, which has no full stop.
ANSWER_RULES = FieldRules(
    version=RULES_VERSION,
    sentences=(Sentence(begins=("",), steps=(Step(field="cell_type"),), ends_with_text=True),),
)
NO_RULES = FieldRules(version=RULES_VERSION, sentences=())
