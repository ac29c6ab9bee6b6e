"""Broken small files: pickled dictionaries, ontologies, label maps, labels, journals."""

from __future__ import annotations

import gzip
import json
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from changes import change_bytes, change_json, encode
from child import Target

from c2t.calibration.metrics.ontology_similarity import OntologySimilarity
from c2t.export.checkpoint.gene_dictionaries.pickled_dictionary import read_pickled_dictionary
from c2t.runtime.annotate.calibration import load_calibration
from c2t.runtime.annotate.labels import read_labels
from c2t.runtime.labels.label_map import read_label_map
from c2t.runtime.labels.ontology_file import read_ontology
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.journal import Journal, RunMark
from c2t.runtime.output.record import Record

OPCODES = [info.code.encode("latin1") for info in pickletools.opcodes]


def _make_pickle(folder: Path, random: Random) -> Path:
    values: dict[str, Any] = {f"ENSG{n:05}": random.choice((n, n / 3, f"E{n}")) for n in range(9)}
    if random.random() < 0.3:
        values = {name: np.float64(n) for n, name in enumerate(values)}
    content = pickle.dumps(values, protocol=random.randrange(6))
    match random.randrange(10):
        case 0:  # what doubles
            push = random.choice((b"X\x01\0\0\0a", b"C\x01a", b"K\x01", b"}", b"N", b")"))
            doubling = random.choice((b"0q\x01h\x01h\x01\x86", b"q\x01h\x01\x86", b"\x85", b"2"))
            times = random.choice((40, 150, 2_000, 40_000))
            content = b"\x80\x04" + push + doubling * times + random.choice((b".", b"}s.", b"R."))
        case 1:  # marks without end
            content = b"\x80\x02" + b"(" * random.choice((10, 60_000)) + b"t" * 30_000 + b"."
        case 2:  # numbers out of range
            number = random.choice((1 << 1500, 1 << 31, -(1 << 63), 1 << 64))
            content = pickle.dumps({"a": number}, protocol=random.choice((0, 1, 2, 4)))
            if random.random() < 0.2:
                content = b"(dp0\nVa\np1\nL" + b"1" * 5000 + b"L\ns."
        case 3:
            places = random.choice((1 << 31, 1 << 40, -1, "é", "1" * 5000))
            content = f"cnumpy\ndtype\n(V{places}\nI0\nI1\ntR.".encode()
        case 4:  # another instruction somewhere
            place = random.randrange(2, len(content))
            content = content[:place] + random.choice(OPCODES) + content[place:]
        case 5:  # a run of any instructions
            parts = [random.choice(OPCODES) + random.randbytes(random.randrange(4))]
            content = b"\x80\x04" + b"".join(parts * random.randrange(1, 30)) + b"."
        case 6:  # a text or a memo that says it is long
            length = random.choice((1 << 20, (1 << 31) - 1, 1 << 31))
            content = b"\x80\x04" + random.choice(b"XBTrj").to_bytes() + struct.pack("<I", length)
            content += b"x" * random.choice((0, 100)) + b"."
        case _:
            content = change_bytes(content, random)
    path = folder / "dictionary.pkl"
    path.write_bytes(content)
    return path


def use_pickle(path: Path) -> None:
    """As exporting does: of each type that it may want."""
    for value in read_pickled_dictionary(path).values():
        assert isinstance(value, str | int | float)
        assert not isinstance(value, bool)


OBO = """format-version: 1.2
data-version: releases/2026-01-01
ontology: cl

[Term]
id: CL:0000000
name: cell
synonym: "a \\"cell\\"" EXACT []

[Term]
id: CL:0000084
name: T cell
synonym: "T-lymphocyte" EXACT [PMID:1]
is_a: CL:0000000 ! cell
property_value: created "2026" xsd:string

[Term]
id: CL:0000236
name: B cell
is_a: CL:0000000 ! cell
relationship: part_of CL:0000084 ! T cell

[Term]
id: CL:0000001
name: old
is_obsolete: true
replaced_by: CL:0000236

[Typedef]
id: part_of
name: part of
is_transitive: true
"""
GUIDE = {
    "CL:0000000": {"label": "cell", "ancestors": {}, "synonyms": []},
    "CL:0000084": {"label": "T cell", "ancestors": {"CL:0000000": 1}, "synonyms": ["T"]},
    "CL:0000236": {
        "label": "B cell",
        "ancestors": {"CL:0000000": 1, "CL:0000084": 2},
        "deprecated": False,
        "replaced_by": None,
    },
}
LABEL_MAPS = (
    {"CD14+ Mono": "monocyte", "B": "B cell"},
    {
        "cell_type": {"labels": {"B": "B cell"}, "terms": {"B cell": "CL:0000236"}},
        "tissue": {"every_cell": "blood"},
    },
)


def _make_ontology(folder: Path, random: Random) -> tuple[Callable[[Path], Any], Path]:
    match random.randrange(3):
        case 0:
            path, content = (
                folder / "map.json",
                encode(change_json(random.choice(LABEL_MAPS), random), random),
            )
            path.write_bytes(content)
            return read_label_map, path
        case 1:
            suffix = random.choice((".json", ".json", ".json.gz", ".json.zst"))
            content = encode(change_json(GUIDE, random), random)
            if suffix.endswith("gz"):
                content = gzip.compress(content)
            if suffix.endswith("st"):
                import zstandard

                content = zstandard.ZstdCompressor().compress(content)
            if suffix != ".json" and random.random() < 0.5:
                content = change_bytes(content, random)
            path = folder / f"cl{suffix}"
        case _:
            content, path = _change_obo(random), folder / "cl.obo"
    path.write_bytes(content)
    return use_ontology, path


def _change_obo(random: Random) -> bytes:
    lines = OBO.splitlines()
    for _ in range(random.choice((1, 2, 3))):
        place = random.randrange(len(lines))
        if random.random() < 0.1:  # what readers may call functions with, or take long for
            blanks = " " * random.choice((1, 5_000, 200_000))
            word = random.choice(("incoming_graph_data", "node_for_adding", "typedefs", "key", "{"))
            lines[place] = f"{word}:{blanks}{random.choice(('x', '{', '!'))}{blanks}y"
            continue
        tag, _, value = lines[place].partition(": ")
        match random.randrange(9):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, random.choice(lines))
            case 2:
                lines[place] = (
                    f"{tag}: {random.choice(('', '!', chr(34), '{', 'é', '[]', value * 999))}"
                )
            case 3:
                lines[place] = (
                    f"{random.choice(('is_a', 'name', 'id', 'synonym', '', ':'))}: {value}"
                )
            case 4:
                lines[place] = lines[place].replace(":", random.choice(("", " :", "::")), 1)
            case 5:
                lines.insert(
                    place, random.choice(("[Term]", "[Term", "[]", "[Instance]", "[X]\nid: 1"))
                )
            case 6:
                lines.insert(
                    place, "is_a: " + random.choice(("CL:0000236", "X", "", "CL:0000001 {a="))
                )
            case 7:
                lines[place] = "is_a: CL:0000236"
            case _:
                return change_bytes("\n".join(lines).encode(), random)
    return "\n".join(lines).encode()


def use_ontology(path: Path) -> None:
    """Look labels up, and compare two terms."""
    ontology = read_ontology(path)
    for label in ("B cell", "CL:0000236", "T-lymphocyte", "CL:0000001"):
        number = ontology.find(label)
        if number is not None:
            OntologySimilarity(ontology).similarity(number, number)
        ontology.label(label)


MARK = RunMark(
    bundle="b" * 64,
    cells=CellsMark(name="cells.h5ad", bytes=100, sha256="c" * 64, changed=0),
    rows="d" * 64,
    n_rows=5,
)
RECORD = Record(
    row=0,
    cell="a",
    text="a cell",
    confidence=0.5,
    cell_type_confidence=None,
    genes_used=7,
    error=None,
)


def _make_journal(folder: Path, random: Random) -> Path:
    path = folder / ".out.jsonl.partial"
    with Journal(path, MARK, range(5), kind=Record) as journal:
        for row in range(random.randrange(5)):
            journal.append(replace(RECORD, row=row))
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    match random.randrange(5):
        case 0:
            random.shuffle(lines)
            content = b"".join(lines)
        case 1:
            content += random.choice(lines)
        case 2:
            header = change_json(json.loads(lines[0]), random)
            content = json.dumps(header).encode() + b"\n" + b"".join(lines[1:])
        case _:
            content = change_bytes(content, random)
    path.write_bytes(content)
    return path


def use_journal(path: Path) -> None:
    """Go on from it, and read all back."""
    with Journal(path, MARK, range(5), kind=Record) as journal:
        for row in range(journal.done, 5):
            journal.append(replace(RECORD, row=row))
        assert [record.row for record in journal.records()] == list(range(5))


LABELS = 'label,id\nT cell,CL:0000084\n"CD4-positive, alpha-beta T cell",\nerythrocyte,x\n'
CALIBRATION = {
    **{"version": 1, "bundle": "x", "bundle_sha256": "b" * 64, "labels": ["a", "b"]},
    **{"temperature": 1.5, "cells": 40, "accuracy": 0.9, "macro_accuracy": 0.8, "source": "x"},
    "before": {"ece": 0.1, "loss": 0.5, "reliability": [[0.5, 0.4, 40]]},
    "after": {"ece": 0.01, "loss": 0.4, "reliability": [[0.5, 0.5, 40]]},
}


class _Bundle:
    """All that a calibration is compared with."""

    digest = "b" * 64


def _make_labels(folder: Path, random: Random) -> tuple[Callable[[Path], Any], Path]:
    if random.random() < 0.4:
        path = folder / "calibration.json"
        path.write_bytes(encode(change_json(CALIBRATION, random), random))
        return use_calibration, path
    path = folder / f"labels{random.choice(('.csv', '.tsv', '.txt'))}"
    content = LABELS if random.random() < 0.7 else LABELS.replace(",", "\t")
    path.write_bytes(change_bytes(content.encode(), random))
    return use_labels, path


def use_labels(path: Path) -> None:
    """Read them; ids are looked up in no ontology."""
    read_labels(str(path), path.parent / "none.obo")


def use_calibration(path: Path) -> None:
    """Read it for the labels that it was fitted with, and say what it is."""
    _ = load_calibration(path, ("a", "b"), _Bundle()).sentence  # type: ignore[arg-type]


def targets() -> list[Target]:
    """Of this file."""
    return [
        Target(name="pickles", make=_make_pickle, use=use_pickle),
        Target(name="labels", make=_make_labels, use=lambda given: given[0](given[1])),
        Target(
            name="ontologies",
            make=_make_ontology,
            use=lambda given: given[0](given[1]),
            loads=("obonet", "zstandard"),
        ),
        Target(name="journal", make=_make_journal, use=use_journal),
    ]
