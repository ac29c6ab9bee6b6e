"""A tiny bundle whose texts, which are random letters, have a field all the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import c2t
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.fields.rules import RULES_NAME, RULES_VERSION, FieldRules, Sentence, Step

# Letters that many of its texts have, taken for words of a sentence.
RULES = FieldRules(
    version=RULES_VERSION,
    sentences=(
        Sentence(
            begins=("lP", "This", "q", "l", "s"),
            steps=(Step(field="cell_type", ends=("e", "p", "#")),),
        ),
    ),
)


def with_rules(folder: Path, rules: FieldRules = RULES) -> Path:
    """Give a copy of a bundle rules for fields, and a manifest that says so."""
    from c2t.runtime.fields.rules import rules_bytes

    (folder / RULES_NAME).write_bytes(rules_bytes(rules))
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    names = [*manifest.files, RULES_NAME]
    write_manifest(folder, manifest.replace(files=file_entries(folder, names)))
    return folder


@contextmanager
def model_with_fields(bundle: Path, folder: Path) -> Iterator[c2t.Model]:
    """A model over a copy of a tiny bundle; nearly all of its texts say a cell type."""
    there = with_rules(Path(shutil.copytree(bundle, folder / "with_fields")))
    with c2t.open(there, c2t.DescribeOptions(threads=1, engine="cpu", batch_size=2)) as model:
        yield model
