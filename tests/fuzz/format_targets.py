"""Broken files of cells of the other formats: 10x, MuData, Loom, MEX, tables, zarr, packed HDF5."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import make_formats
from cell_targets import change_structure, use_cells
from changes import change_bytes, change_json, encode
from child import Target
from make_cells import adata

from c2t.runtime.cells.formats.store import FILE_FORMATS
from c2t.runtime.cells.genes.orthologues import read_orthologues
from c2t.runtime.cells.genes.species import SPECIES

_PREPARED: dict[str, Path] = {}
_JSON = (".zarray", ".zattrs", ".zgroup", "zarr.json")
HDF5 = ("10x", "10x 2", "MuData", "Loom")
ZARR = ("zarr 2", "zarr 3")
TEXTS = ("MEX", "Parse")
TABLES = ("csv", "tsv.gz")


def _prepare(names: tuple[str, ...]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        for name in names:
            place = folder / name.replace(" ", "-")
            place.mkdir()
            _PREPARED[name] = make_formats.FORMATS[name](place, adata())

    return prepare


def _copied(name: str, folder: Path) -> Path:
    source = _PREPARED[name]
    copy = folder / source.name
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copyfile(source, copy)
    return copy


def _make_hdf5(folder: Path, random: Random) -> Path:
    path = _copied(random.choice(HDF5), folder)
    change_structure(path, random)
    return path


def _make_hdf5_bytes(folder: Path, random: Random) -> Path:
    path = _copied(random.choice(HDF5), folder)
    path.write_bytes(change_bytes(path.read_bytes(), random))
    if random.random() < 0.3:
        packed = path.with_name("cells.h5ad.gz")
        packed.write_bytes(change_bytes(gzip.compress(path.read_bytes()), random))
        return packed
    return path


def _break_text(content: bytes, random: Random) -> bytes:
    """Other numbers, fields or lines; or other bytes."""
    if random.random() < 0.4:
        return change_bytes(content, random)
    lines = content.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 5))):
        place = random.randrange(min(len(lines), random.choice((3, len(lines)))))
        fields = lines[place].replace(b"\t", b" ").split(b" ")
        match random.randrange(7):
            case 0:
                del lines[place]
                lines = lines or [b""]
            case 1:
                lines[place] = lines[place] + lines[random.randrange(len(lines))]
            case 2:
                lines.insert(place, random.choice((b"", b"%", b"#", b'"', b"\xff", b"1 1 1")))
            case 3:
                lines[place] = lines[place].replace(b",", b"\t").replace(b"1", b"NA", 1)
            case 4:
                lines[place] = lines[place] * random.choice((2, 1000))
            case _:
                wild = (b"-1", b"0", b"1e300", b"nan", b"99999999999999999999", b"", b"1.5", b"x")
                fields[random.randrange(len(fields))] = random.choice(wild)
                lines[place] = b" ".join(fields)
    return b"\n".join(lines)


def _make_texts(names: tuple[str, ...]) -> Callable[[Path, Random], Path]:
    def make(folder: Path, random: Random) -> Path:
        path = _copied(random.choice(names), folder)
        files = sorted(file for file in path.rglob("*") if file.is_file()) or [path]
        for file in random.sample(files, random.choice((1, 1, len(files)))):
            content = file.read_bytes()
            packed = content.startswith(b"\x1f\x8b")
            if packed and random.random() < 0.2:
                file.write_bytes(change_bytes(content, random))
                continue
            content = _break_text(gzip.decompress(content) if packed else content, random)
            file.write_bytes(gzip.compress(content, 1) if packed else content)
        return _perhaps_zipped(path, random)

    return make


def _make_zarr(folder: Path, random: Random) -> Path:
    path = _copied(random.choice(ZARR), folder)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    stated = [file for file in files if file.name in _JSON]
    chunks = [file for file in files if file.name not in _JSON]
    for _ in range(random.choice((1, 1, 2, 4))):
        match random.randrange(6):
            case 0:
                file = random.choice(chunks)
                if file.exists():
                    file.unlink()
            case 1 | 2:
                file = random.choice(chunks)
                if file.exists():
                    file.write_bytes(change_bytes(file.read_bytes(), random))
            case 3:
                one, other = random.sample(files, 2)
                if one.exists() and other.exists():
                    shutil.copyfile(one, other)
            case _:
                file = random.choice(stated)
                try:
                    document: Any = json.loads(file.read_text())
                except (OSError, ValueError):
                    continue
                file.write_bytes(encode(change_json(document, random), random))
    return _perhaps_zipped(path, random)


def _perhaps_zipped(path: Path, random: Random) -> Path:
    if not path.is_dir() or random.random() < 0.6:
        return path
    packed = make_formats.zipped(path.with_name("cells.zip"), path)
    if random.random() < 0.5:
        packed.write_bytes(change_bytes(packed.read_bytes(), random))
    elif random.random() < 0.3:
        with zipfile.ZipFile(packed, "a") as archive:
            name = random.choice(
                ("../x.mtx", "/x.mtx.gz", "a/../../zarr.json", "\x01.mtx", "x" * 99)
            )
            archive.writestr(name, "x")
    return packed


def _make_orthologues(folder: Path, random: Random) -> Path:
    kinds = ("Gene stable ID", "Human gene stable ID", "Human gene name", "Human homology type")
    rows = [(f"ENSMUSG{n:011d}", f"ENSG{n:011d}", f"G{n}", "ortholog_one2one") for n in range(40)]
    text = "".join("\t".join(row) + "\n" for row in (kinds, *rows)).encode()
    path = folder / "orthologues.tsv"
    path.write_bytes(_break_text(text, random))
    return path


def _use_orthologues(path: Path) -> None:
    human, mouse = SPECIES[:2]
    read_orthologues(path, mouse, human).translate(["ENSMUSG00000000001", "Cd3e"])


def targets() -> list[Target]:
    """Of this file."""
    modules = [place.partition(":")[0] for place in FILE_FORMATS.values()]
    loads = (
        *(f"c2t.runtime.cells.formats.{module}" for module in modules),
        *("c2t.runtime.cells.formats.store", "scipy.sparse", "zipfile", "gzip"),
    )
    made = {
        "hdf5-formats": (_make_hdf5, HDF5),
        "hdf5-formats-bytes": (_make_hdf5_bytes, HDF5),
        "mex": (_make_texts(TEXTS), TEXTS),
        "tables": (_make_texts(TABLES), TABLES),
        "zarr": (_make_zarr, ZARR),
    }
    formats = [
        Target(name=name, make=make, use=use_cells, prepare=_prepare(names), loads=loads)
        for name, (make, names) in made.items()
    ]
    return [*formats, Target(name="orthologues", make=_make_orthologues, use=_use_orthologues)]
