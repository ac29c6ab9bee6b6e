"""The field reader of a bundle: its own rules and terms, or the paper's rules.

One decision: a bundle without rules was made before there were any, by a model of the paper's kind.
So it is read as before, by the paper's template. A bundle of another kind carries rules of its own,
or a file with none.
"""

from __future__ import annotations

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.rules import RULES_NAME, read_rules
from c2t.runtime.fields.terms import TERMS_NAME, load_terms


def open_fields(bundle: Bundle) -> FieldReader:
    """The field reader of a bundle.

    Raises:
        BundleError: Its rules or its terms are damaged.
    """
    own = RULES_NAME in bundle.manifest.files
    rules = read_rules(bundle.file(RULES_NAME)) if own else PAPER_RULES
    terms = load_terms(bundle.file(TERMS_NAME)) if TERMS_NAME in bundle.manifest.files else None
    return FieldReader(rules, terms, own=own)
