"""Broken bundles: manifest, files with their hashes made to fit, graphs, and what was built."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from changes import SENTENCES, TINY, change_bytes, change_json, encode, other_value
from child import Target

from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.cells.counted_cells import CountedCellReader
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.annotator import Annotator
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.engines.built.folder import plan_sets
from c2t.runtime.engines.built.half_graphs import open_half_graphs
from c2t.runtime.engines.built.step_weights import DESCRIPTION_NAME, load_step_weights
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.rules import RULES_NAME, rules_bytes
from c2t.runtime.fields.terms import TERMS_NAME, make_table
from c2t.runtime.generation.phrase_table import PHRASES_NAME, build_phrase_table

LOADED = (
    *("c2t.runtime.engines.cpu.encoder", "c2t.runtime.bundle.gene_vocabulary"),
    "c2t.runtime.bundle.text_tokenizer",
    *("c2t.kernels.gene_embedding.tables", "onnxruntime", "safetensors.numpy", "onnx.numpy_helper"),
)
CAPTION = (
    "This sample consists of a B cell, CD19-high, a lymphocyte. It originates from the wall of a "
    "vein of a normal female with X during Y. This cell is associated with Z."
)
CELLS = ((2, 10, 11, 12, 3), (2, 40, 3))
LABELS = ("T cell", "erythrocyte", "xyz")
OTHER_FILES = (
    *("genes.npz", "tokenizer.json", "gene_embedding.safetensors", "golden.json", PHRASES_NAME),
    *("tokenizer.json", "genes.npz", RULES_NAME, TERMS_NAME),
)


def use_bundle(folder: Path) -> None:
    """Open, describe two cells, compare labels for them, look at the genes, verify."""
    bundle = open_bundle(folder)
    options = DescribeOptions(threads=1, engine="cpu")
    describer = Describer(bundle, options)
    list(describer.describe([EncodedCells.of_tokens(CELLS)]))
    annotator = Annotator(describer, bundle, LABELS)
    list(annotator.annotate([EncodedCells.of_tokens(CELLS)]))
    _ = annotator.doubts
    describer.fields.read(CAPTION)
    bundle.genes.lookup(["ENSG00000000001", "GENE1"])
    verify_golden_cells(bundle, "cpu")


def _copy(folder: Path) -> Path:
    place = folder / "bundle"
    shutil.copytree(TINY, place)
    return place


def _manifest(place: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
    return document


def write_file(place: Path, name: str, content: bytes) -> None:
    """Write a file of a bundle, and its length and hash in the manifest."""
    (place / name).write_bytes(content)
    document = _manifest(place)
    digest = hashlib.sha256(content).hexdigest()
    document["files"][name] = {"bytes": len(content), "sha256": digest}
    (place / "manifest.json").write_text(json.dumps(document))


def _make_manifest(folder: Path, random: Random) -> Path:
    place = _copy(folder)
    changed = encode(change_json(_manifest(place), random), random)
    (place / "manifest.json").write_bytes(changed)
    return place


def _make_used_manifest(folder: Path, random: Random) -> Path:
    """Only numbers and texts of what is computed with: many of these open."""
    place = _copy(folder)
    document = _manifest(place)
    parts = ("gene_input", "encoder", "projector", "decoder", "prompt", "generation")
    for _ in range(random.choice((1, 2))):
        part = document[random.choice(parts)]
        key = random.choice(list(part))
        value = part[key]
        if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.6:
            value = max(0, value + random.choice((-1, 1, 5, 100, -value)))
        elif isinstance(value, list) and value:
            value = [random.choice((v, v + 1, 0, 1 << 20)) for v in value]
        else:
            value = other_value(value, random)
        part[key] = value
    (place / "manifest.json").write_text(json.dumps(document))
    return place


def _make_sentences(folder: Path, random: Random) -> Path:
    """A bundle whose cells are gene sentences: its manifest or its tokenizer is changed."""
    place = folder / "bundle"
    shutil.copytree(SENTENCES, place)
    document = _manifest(place)
    match random.randrange(4):
        case 0:
            document = change_json(document, random)
        case 1:
            name = random.choice(("tokenizer.json", RULES_NAME, "golden.json"))
            content = encode(change_json(json.loads((place / name).read_bytes()), random), random)
            write_file(place, name, content)
            return place
        case _:
            parts = ("gene_sentence", "template", "decoder", "generation")
            part = random.choice(parts)
            document[part] = change_json(document[part], random)
    (place / "manifest.json").write_bytes(encode(document, random))
    return place


def use_sentences(folder: Path) -> None:
    """Open, describe a cell of counts, compare labels for it, verify."""
    bundle = open_bundle(folder)
    describer = Describer(bundle, DescribeOptions(threads=1, engine="cpu"))
    reading = CellOptions(organism="human")
    read = CountedCellReader(bundle).read([{"CD3E": 3.0, "ACTB": 1.0}], ["cell"], reading)
    list(describer.describe([read.cells]))
    list(Annotator(describer, bundle, LABELS).annotate([read.cells]))
    verify_golden_cells(bundle, "cpu")


def _make_file(folder: Path, random: Random) -> Path:
    place = _copy(folder)
    name = random.choice(OTHER_FILES)
    if name == PHRASES_NAME:
        np.savez(place / name, **_phrases(random))
        content = (place / name).read_bytes()
    elif name == TERMS_NAME:
        np.savez(place / name, **_terms(random))
        content = (place / name).read_bytes()
    elif name == RULES_NAME:
        content = rules_bytes(PAPER_RULES.with_known({"tissue": ("lung", "blood")}))
    else:
        content = (place / name).read_bytes()
    if name.endswith(".json") and random.random() < 0.85:
        content = encode(change_json(json.loads(content), random), random)
    elif name == "genes.npz" and random.random() < 0.6:
        with np.load(TINY / name) as stored:
            arrays = dict(stored)
        np.savez(place / name, **_change_arrays(arrays, random))
        content = (place / name).read_bytes()
    else:
        content = change_bytes(content, random)
    if random.random() < 0.03:  # not a file at all
        (place / name).unlink(missing_ok=True)
        random.choice((os.mkfifo, Path.mkdir))(place / name)
        return place
    write_file(place, name, content)
    return place


def _phrases(random: Random) -> dict[str, Any]:
    """Arrays of a small phrase table, one of them changed."""
    captions = [[random.randrange(5, 20) for _ in range(9)] for _ in range(6)]
    table = build_phrase_table(captions)
    names = ("first_edge", "token", "target", "count", "shorter")
    arrays = {name: getattr(table, name) for name in names}
    return _change_arrays(arrays | {"start": np.array([table.start], np.int32)}, random)


def _terms(random: Random) -> dict[str, Any]:
    """Arrays of a small table of names, one of them changed."""
    table = make_table({("cell_type", f"type {n}"): f"CL:{n:07d}" for n in range(9)})
    arrays = {name: getattr(table, name) for name in ("hash", "prefix", "number")}
    arrays["prefixes"] = np.array(table.prefixes, "S16")
    return _change_arrays(arrays | {"fields": np.array(sorted(table.fields), "S16")}, random)


def _change_arrays(arrays: dict[str, Any], random: Random) -> dict[str, Any]:
    name = random.choice(list(arrays))
    values = arrays[name]
    match random.randrange(8):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = values[: len(values) // 2]
        case 2:
            kinds = (
                ("S3", "U3") if values.dtype.kind == "S" else ("f4", "S3", "i1", "u8", "c8", "?")
            )
            arrays[name] = values.astype(random.choice(kinds))
        case 3:
            arrays[name] = np.array(values, object).astype("S") if values.size else values
        case 4:
            arrays[name] = values.reshape(-1, 1)
        case 5:
            arrays[name] = np.zeros(0, values.dtype)
        case _:
            if values.size and values.dtype.kind in "iuf":
                flat = values.copy().reshape(-1)
                with np.errstate(all="ignore"):
                    wild = np.array([-1, 0, 1 << 30, 10**9, -(1 << 31), len(flat)])
                    flat[random.randrange(flat.size)] = wild[random.randrange(6)].astype(flat.dtype)
                arrays[name] = flat.reshape(values.shape)
            elif values.size:
                flat = values.copy().reshape(-1)
                flat[random.randrange(flat.size)] = random.choice((b"", b"\xff\xfe", b"ENSG1"))
                arrays[name] = flat.reshape(values.shape)
    return arrays


def _make_graph(folder: Path, random: Random) -> Path:
    place = _copy(folder)
    name = random.choice(GRAPHS)
    if random.random() < 0.3:
        write_file(place, name, change_bytes((place / name).read_bytes(), random))
        return place
    if random.random() < 0.1:  # an empty graph, or a file that the manifest does not list
        model = onnx.load(place / name, load_external_data=False)
        del model.graph.node[:]
        if random.random() < 0.5:
            del model.graph.initializer[:]
        write_file(place, name, model.SerializeToString())
        return place
    model = onnx.load(place / name, load_external_data=False)
    for _ in range(random.choice((1, 1, 2))):
        _change_graph(model.graph, place, random)
    write_file(place, name, model.SerializeToString())
    return place


def _change_graph(graph: Any, place: Path, random: Random) -> None:
    nodes = graph.node
    node = random.choice(nodes) if nodes else None
    external = [t for t in graph.initializer if t.external_data]
    match random.randrange(9):
        case 0 if node is not None:
            node.op_type = random.choice(("Loop", "If", "Scan", "Add", "Mul", "Cast", "Shape", ""))
        case 1 if node is not None and node.input:
            node.input[random.randrange(len(node.input))] = random.choice(("", "inputs_embeds"))
        case 2 if nodes:
            del nodes[random.randrange(len(nodes))]
        case 3 if node is not None and node.attribute:
            attribute = random.choice(node.attribute)
            attribute.i = random.choice((0, -1, 7, 1 << 40, -(1 << 62)))
            attribute.f = random.choice((0.0, float("nan"), 1e38))
        case 4 if graph.initializer:
            tensor = random.choice(graph.initializer)
            tensor.dims[:] = random.choice(
                ([], [0], [1 << 40], [-1, 4], [1, 1, 1], [*tensor.dims, 2], [1 << 32, 1 << 32])
            )
        case 5 if graph.initializer:
            random.choice(graph.initializer).data_type = random.randrange(-1, 24)
        case 6 if graph.initializer:
            tensor = random.choice(graph.initializer)
            tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
        case _ if external:
            entry = random.choice(random.choice(external).external_data)
            if entry.key == "location":
                entry.value = random.choice(
                    ("", "x.data", "../x", "/etc/passwd", "encoder.onnx", "link", "pipe", ".")
                )
                (place / "link").symlink_to("/etc/passwd")
                os.mkfifo(place / "pipe")
            else:
                entry.value = random.choice(
                    (
                        "-1",
                        "x",
                        "",
                        "1",
                        "99999999999999999999",
                        "4096",
                        str(1 << 62),
                        "\uff11",
                        "1e3",
                    )
                )
        case _:
            graph.name = ""


def use_graph(folder: Path) -> None:
    """Describe with it; where that is refused, building must be refused too."""
    bundle = open_bundle(folder)
    # `--force`: what was there must not be found.
    options = HalfGraphsOptions(cache=folder.parent / "built", force=True)
    build_half_graphs(bundle, options)
    use_bundle(folder)


_BUILT: list[Path] = []


def prepare_built(folder: Path) -> None:
    """Build what `built` breaks, once, in the parent."""
    build_half_graphs(open_bundle(TINY), HalfGraphsOptions(cache=folder))
    _BUILT[:] = [folder]


def _make_built(folder: Path, random: Random) -> Path:
    cache = folder / "built"
    shutil.copytree(_BUILT[0], cache)
    place = next(path for path in cache.iterdir() if path.is_dir())
    record = json.loads((place / "plans.json").read_bytes())
    name = random.choice(("plans.json", "plans.json", *record["files"]))
    path = place / name
    if name == "plans.json":
        path.write_bytes(encode(change_json(record, random), random))
        return cache
    if name == DESCRIPTION_NAME:
        content = encode(change_json(json.loads(path.read_bytes()), random), random)
    elif name in GRAPHS:
        model = onnx.load(path, load_external_data=False)
        _change_graph(model.graph, place, random)
        content = model.SerializeToString()
    else:
        content = change_bytes(path.read_bytes(), random)
    path.write_bytes(content)
    if random.random() < 0.8:
        digest = hashlib.sha256(content).hexdigest()
        record["files"][name] = {"bytes": len(content), "sha256": digest}
        (place / "plans.json").write_text(json.dumps(record))
    if random.random() < 0.05:
        path.unlink()
        os.mkfifo(path)
    return cache


def use_built(cache: Path) -> None:
    """What opening half-precision graphs looks at before a GPU sees them."""
    bundle: Bundle = open_bundle(TINY)
    list(plan_sets(cache))
    folder = open_half_graphs(bundle, cache)
    if folder is not None and (folder / DESCRIPTION_NAME).exists():
        load_step_weights(folder, bundle.manifest.decoder)


def targets() -> list[Target]:
    """Of this file."""
    return [
        Target(name="manifest", make=_make_manifest, use=use_bundle, loads=LOADED),
        Target(name="manifest-used", make=_make_used_manifest, use=use_bundle, loads=LOADED),
        Target(name="sentences", make=_make_sentences, use=use_sentences, loads=LOADED),
        Target(name="bundle-files", make=_make_file, use=use_bundle, loads=LOADED),
        Target(name="graphs", make=_make_graph, use=use_graph, loads=LOADED),
        Target(name="built", make=_make_built, use=use_built, prepare=prepare_built, loads=LOADED),
    ]
