"""Fields of the demo's captions against the decisions behind them, and of all its held-out cells.

c2t export examples/demo/checkpoint -o BUNDLE
python benchmarks/fields/demo_fields.py BUNDLE CELLS... --gene-table GENES.csv.gz --ontology FILE...
    -o FILE.json

- Training captions, one a labelled cell, with pathways drawn at random: what the rules read is what
  the caption was made of, and every id is that of the caption table. The ids of the table are
  checked against the ontologies themselves.
- Held-out cells: what the rules read of the text that the model wrote is what a reader finds who
  knows all sentences of the caption table by heart. Words that are in no sentence of the table,
  which the model made up, are counted apart: they must have no id.
- Names that the demo does not know, put into its captions, are "unknown".
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple
from itertools import product
from pathlib import Path
from typing import Any

from c2t.examples.demo.captions import (
    CaptionTable,
    Donor,
    all_donors,
    article,
    caption_parts,
    caption_text,
    read_caption_table,
)
from c2t.examples.demo.cells import read_gene_symbols, read_labelled_sets
from c2t.examples.demo.held_out import is_held_out
from c2t.runtime.bench.record import Target, finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.fields.open import open_fields
from c2t.runtime.fields.reader import JOINED, UNKNOWN, FieldReader
from c2t.runtime.labels.ontology import Term
from c2t.runtime.labels.ontology_file import read_ontology

SEED = 18
NAMES = ("cell_type", "tissue", "disease", "sex", "age", "pathways")
WITH_IDS = ("cell_type", "tissue", "disease")
STRANGERS = 2000
SHOWN = 5  # differences that the result shows

Decisions = dict[str, str | None]


def main() -> None:
    """Compare, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path, nargs="+")
    parser.add_argument("--gene-table", type=Path, required=True)
    parser.add_argument("--ontology", type=Path, nargs="+", required=True)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    document = record("demo_fields", threads=None, seed=SEED)
    bundle = open_bundle(options.bundle)
    reader = open_fields(bundle)
    table = read_caption_table()
    terms = {t.id: t for file in options.ontology for t in read_ontology(file).terms}
    document["table"] = table_ids(table, terms)
    labels = read_labelled_sets(options.cells, table, read_gene_symbols(options.gene_table))
    donors = (
        (name, donor) for s in labels for name, donor in zip(s.cell_types, s.donors, strict=True)
    )
    document["training captions"] = training_captions(reader, table, donors)
    document["held-out cells"] = {
        path.stem: held_out_cells(bundle, table, path) for path in options.cells
    }
    document["names that the demo does not know"] = strangers(reader, table, terms.values())
    finish(document, targets(document), options.output)


def table_ids(table: CaptionTable, terms: dict[str, Term]) -> dict[str, Any]:
    """How the caption table's ids stand in the ontologies."""
    found = Counter[str]()
    shortened = {}
    for field, ids in table.terms.items():
        for name, term_id in ids.items():
            term = terms.get(term_id)
            if term is None:
                found[f"{field}: not in these ontologies"] += 1
            elif term.obsolete:
                found[f"{field}: obsolete"] += 1
            elif term.label == name:
                found[f"{field}: the term's own name"] += 1
            else:
                found[f"{field}: another name"] += 1
                shortened[name] = term.label
    return {"ids": dict(found), "other names": shortened}


def decisions(cell_type: str, donor: Donor, pathways: Iterable[str]) -> Decisions:
    """What a caption is made of."""
    return {
        "cell_type": cell_type,
        "tissue": donor.tissue,
        "disease": donor.disease,
        "sex": donor.sex,
        "age": donor.age,
        "pathways": JOINED.join(pathways) or None,
    }


def read(reader: FieldReader, text: str) -> tuple[Decisions, dict[str, str | None]]:
    """The words and the ids of a text's fields."""
    fields = reader.read(text)
    words = {name: field.words if (field := fields[name]) else None for name in NAMES}
    ids = {name: field.ontology_id if (field := fields[name]) else None for name in NAMES}
    return words, ids


def training_captions(
    reader: FieldReader, table: CaptionTable, labelled: Iterable[tuple[str, Donor]]
) -> dict[str, Any]:
    """Captions of labelled cells, and of every donor with every cell type of a set."""
    cases = list(labelled)
    for entry in table.sets.values():
        for donor in all_donors(entry):
            cases += [(cell_type, donor) for cell_type in table.definitions]
    chance = random.Random(SEED)
    right, ids_right = Counter[str](), Counter[str]()
    wrong = []
    for cell_type, donor in cases:
        first, second = chance.sample(sorted(table.pathways), 2)
        text = caption_text(caption_parts(table, cell_type, donor, (first, second)))
        made_of = decisions(cell_type, donor, (table.pathways[first], table.pathways[second]))
        words, ids = read(reader, text)
        right.update(name for name in NAMES if words[name] == made_of[name])
        for name in WITH_IDS:
            ids_right[name] += ids[name] == table.terms[name][str(made_of[name])]
        if words != made_of:
            wrong.append({"text": text, "read": words, "made of": made_of})
    return {
        "captions": len(cases),
        "right": dict(right),
        "ids right": dict(ids_right),
        "wrong": wrong[:SHOWN],
    }


class ByHeart:
    """A reader who knows every sentence of the caption table, and no rule of the bundle.

    Args:
        table: The wording.
    """

    def __init__(self, table: CaptionTable) -> None:
        begin = "This sample consists of"
        self._types = {f"{begin} {article(name)} {name},": name for name in table.definitions}
        donors = [donor for entry in table.sets.values() for donor in all_donors(entry)]
        name = next(iter(table.definitions))
        pair = tuple(sorted(table.pathways))[:2]
        self._donors = {}
        # Also sexes, ages and diseases of several sets, which the model could mix up.
        for tissue, disease, sex, age in product(*zip(*map(astuple, donors), strict=True)):
            donor = Donor(tissue=tissue, disease=disease, sex=sex, age=age)
            parts = caption_parts(table, name, donor, (pair[0], pair[1]))
            self._donors[f"{parts[3].text}{parts[4].text}"] = donor
        self._pathways = [
            [(f" {begin} {words}.", words) for words in table.pathways.values()]
            for begin in ("This cell is associated with", "Additionally, it involves")
        ]

        self.words = {
            "cell_type": set(table.definitions),
            "tissue": {donor.tissue for donor in donors},
            "disease": {donor.disease for donor in donors},
            "sex": {donor.sex for donor in donors},
            "age": {donor.age for donor in donors},
            "pathways": set(table.pathways.values()),
        }

    def read(self, text: str) -> Decisions:
        """What a text says."""
        types = [name for sentence, name in self._types.items() if sentence in text]
        donors = [donor for sentence, donor in self._donors.items() if sentence in text]
        pathways = [
            words for known in self._pathways for sentence, words in known if sentence in text
        ]
        nobody = Donor(tissue="", disease="", sex=None, age=None)
        donor = donors[0] if len(donors) == 1 else nobody
        said = decisions(types[0] if len(types) == 1 else "", donor, pathways)
        return {name: value or None for name, value in said.items()}


def held_out_cells(bundle: Bundle, table: CaptionTable, path: Path) -> dict[str, Any]:
    """Fields of the texts of a file's held-out cells, and what a reader by heart finds."""
    with open_cells(path, bundle) as reader:
        unseen = [name for name in reader.cell_ids if is_held_out(name)]
    describer = Describer(bundle, DescribeOptions())
    with open_cells(path, bundle, CellOptions(cells=unseen)) as reader:
        described = list(describer.describe(reader))
    by_heart, known = ByHeart(table), dict[str, Decisions]()
    equal, ids_right, made_up, other = Counter[str](), Counter[str](), Counter[str](), []
    for description in described:
        text = description.text or ""
        if text not in known:
            known[text] = by_heart.read(text)
        words: Decisions = {}
        for name in NAMES:
            field = description.fields.get(name)
            parts = field.parts if field else ()
            of_table = [part for part in parts if part in by_heart.words[name]]
            words[name] = JOINED.join(of_table) or None
            made_up[name] += len(of_table) < len(parts)
        equal.update(name for name in NAMES if words[name] == known[text][name])
        for name in WITH_IDS:
            field = description.fields.get(name)
            expected = table.terms[name].get(field.words, UNKNOWN) if field else None
            ids_right[name] += (field.ontology_id if field else None) == expected
        if words != known[text]:
            other.append({"text": text, "fields": words, "by heart": known[text]})
    return {
        "cells": len(described),
        "errors": sum(d.error is not None for d in described),
        "equal": dict(equal),
        "made-up words": {name: count for name, count in made_up.items() if count},
        "ids right": dict(ids_right),
        "differ": len(other),
        "examples": other[:SHOWN],
    }


def strangers(reader: FieldReader, table: CaptionTable, terms: Iterable[Term]) -> dict[str, Any]:
    """Names of the ontologies that the demo does not know, in its captions."""
    chance = random.Random(SEED)
    prefixes = {"CL": "cell_type", "UBERON": "tissue", "MONDO": "disease"}
    names: dict[str, list[str]] = {field: [] for field in prefixes.values()}
    for term in terms:
        field = prefixes.get(term.id.partition(":")[0])
        if field is not None and not term.obsolete and term.label not in table.terms[field]:
            names[field].append(term.label)
    definitions = sorted(table.definitions.values())
    right, said_nothing, wrong, unknown = Counter[str](), Counter[str](), [], Counter[str]()
    for _ in range(STRANGERS):
        cell_type, tissue, disease = (chance.choice(names[field]) for field in names)
        sex, age = chance.choice((None, "female", "male")), chance.choice((None, "adulthood"))
        donor = Donor(tissue=tissue, disease=disease, sex=sex, age=age)
        made = CaptionTable(
            definitions={cell_type: chance.choice(definitions)},
            pathways=table.pathways,
            sets={},
            terms={},
        )
        pair = chance.sample(sorted(table.pathways), 2)
        text = caption_text(caption_parts(made, cell_type, donor, (pair[0], pair[1])))
        words, ids = read(reader, text)
        made_of = decisions(cell_type, donor, (table.pathways[name] for name in pair))
        for name in NAMES:
            right[name] += words[name] == made_of[name]
            said_nothing[name] += words[name] is None and made_of[name] is not None
            if words[name] not in (None, made_of[name]):
                wrong.append({"field": name, "text": text, "read": words[name]})
        for name in WITH_IDS:
            unknown[name] += words[name] is not None and ids[name] == UNKNOWN
    return {
        "captions": STRANGERS,
        "right": dict(right),
        "said nothing": {name: count for name, count in said_nothing.items() if count},
        "unknown": dict(unknown),
        "wrong": len(wrong),
        "examples": wrong[:SHOWN],
    }


def targets(document: dict[str, Any]) -> list[Target]:
    """What must hold."""
    captions = document["training captions"]
    files = document["held-out cells"].values()
    others = document["names that the demo does not know"]
    cells = sum(file["cells"] for file in files)
    return [
        target(
            "training captions: fields equal to their decisions, of all",
            min(captions["right"].values()) / captions["captions"],
            1.0,
        ),
        target(
            "training captions: ids right, of all",
            min(captions["ids right"].values()) / captions["captions"],
            1.0,
        ),
        target(
            "held-out cells: fields equal to a reading by heart, of all",
            sum(file["cells"] - file["differ"] for file in files) / cells,
            1.0,
        ),
        target(
            "unknown names: captions without a wrong field, of all",
            1 - others["wrong"] / others["captions"],
            1.0,
        ),
        target(
            "held-out cells: ids right, of all",
            sum(min(file["ids right"].values()) for file in files) / cells,
            1.0,
        ),
    ]


if __name__ == "__main__":
    main()
