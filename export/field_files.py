"""Writes what a bundle knows of its captions: `fields.json` and `terms.npz`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from c2t.export.field_rules import field_rules
from c2t.export.model.loaded_checkpoint import CaptionFiles
from c2t.export.term_table import term_table
from c2t.runtime.fields.rules import RULES_NAME, FieldRules, rules_bytes
from c2t.runtime.fields.terms import TERMS_NAME


def check_fields(captions: CaptionFiles) -> None:
    """Refuse files that could not be made rules or names of, before a weight is read.

    Raises:
        CheckpointError: Rules or names are damaged, or an ontology is of no use.
        EvaluationError: An ontology cannot be read.
    """
    field_rules(captions.fields, None)
    if captions.terms:
        term_table(captions.terms)


def write_fields(
    captions: CaptionFiles,
    folder: Path,
    report: Callable[[str], None],
    *,
    usual: FieldRules | None = None,
) -> None:
    """Write the rules for fields and the names of terms into a bundle's folder.

    Args:
        captions: The files to make them of; without any, nothing is written, and captions are read
            by the paper's template.
        folder: The bundle's.
        report: Told what was found, in a sentence.
        usual: The rules of a model whose texts are none of the paper's, where no file has others.
    """
    if usual is not None and captions.fields is None:
        rules: FieldRules | None = usual
    else:
        rules = field_rules(captions.fields, captions.phrases)
    if rules is not None:
        (folder / RULES_NAME).write_bytes(rules_bytes(rules))
        names = ", ".join(rules.fields)
        report(f"captions say {names}" if names else "captions have no fields")
    elif captions.phrases is not None:
        report("the captions do not follow the paper's template: give --fields to have fields")
    if captions.terms:
        table, counts = term_table(captions.terms)
        table.save(folder / TERMS_NAME)
        report(counts.sentence)
