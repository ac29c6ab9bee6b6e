"""Broken `.h5ad` files: structure, by h5py, and bytes."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import h5py
import make_cells
import numpy as np
from changes import TEXTS, TINY, change_bytes
from child import Target

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells

_FILES: list[bytes] = []


def prepare_cells(folder: Path) -> None:
    """Write the files that are broken, once, in the parent."""
    ids = [f"ENSG{n:011d}" for n in range(1, make_cells.GENES + 1)]
    assert ids == make_cells.IDS
    paths = [
        make_cells.write(folder / "sparse.h5ad", make_cells.adata()),
        make_cells.write(folder / "packed.h5ad", make_cells.adata(), compression="gzip"),
        make_cells.write(folder / "dense.h5ad", make_cells.adata(make_cells.counts())),
        make_cells.write_first_version(folder / "first.h5ad"),
        make_cells.write_second_version(folder / "second.h5ad"),
    ]
    _FILES[:] = [path.read_bytes() for path in paths]


def _make_bytes(folder: Path, random: Random) -> Path:
    path = folder / "cells.h5ad"
    path.write_bytes(change_bytes(random.choice(_FILES), random))
    return path


def _make_structure(folder: Path, random: Random) -> Path:
    path = folder / "cells.h5ad"
    path.write_bytes(random.choice(_FILES))
    change_structure(path, random)
    return path


def change_structure(path: Path, random: Random) -> None:
    """Delete, exchange, retype or link some of what an HDF5 file holds."""
    with h5py.File(path, "r+") as file:
        for _ in range(random.choice((1, 1, 2, 3))):
            names: list[str] = []
            file.visit(names.append)
            if names:
                _change(file, random.choice(names), random)


def _change(file: h5py.File, name: str, random: Random) -> None:
    item = file[name]
    attributes = list(item.attrs)
    match random.randrange(8):
        case 0:
            del file[name]
        case 1:
            other: list[str] = []
            file.visit(other.append)
            target = random.choice(other)
            del file[name]
            file[name] = random.choice(
                (h5py.SoftLink(f"/{target}"), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/no"))
            )
        case 2:
            del file[name]
            file[name] = h5py.ExternalLink(str(TINY / "genes.npz"), "/")
        case 3 if attributes:
            del item.attrs[random.choice(attributes)]
        case 4:
            key = random.choice((*attributes, "shape", "_index", "column-order", "encoding-type"))
            value: Any = random.choice(
                (0, -1, [1 << 40, 3], [0, 0], "x", "../x", [], 1.5, b"\xff", "csr_matrix", TEXTS[4])
            )
            item.attrs[key] = value
        case 5:
            del file[name]
            file.create_group(name)
        case _:
            if not isinstance(item, h5py.Dataset):
                return
            values = item[()]
            kept = dict(item.attrs)
            del file[name]
            _write(file, name, values, random)
            file[name].attrs.update(kept)


def _write(file: h5py.File, name: str, values: Any, random: Random) -> None:
    """The dataset again, with other values, another type, or a shape that takes no room."""
    match random.randrange(9):
        case 0:
            kind = random.choice(("f4", "i8", "S1", "S4000", "u1", "c8", "f2"))
            shape = random.choice(((1 << 40,), (20_000_000,), (1 << 20, 1 << 20), (5,)))
            file.create_dataset(
                name, shape=shape, dtype=kind, chunks=tuple(min(n, 64) for n in shape)
            )
        case 1:
            file.create_dataset(name, data=h5py.Empty("f4"))
        case 2 if values.size:
            file.create_dataset(name, data=values[: len(values) // 2])
        case 3:
            file.create_dataset(name, data=np.full(values.shape, random.choice((-1, 0, 1 << 40))))
        case 4 if values.dtype.kind in "iuf":
            file.create_dataset(name, data=values.astype(random.choice(("f2", "f8", "u1", "i8"))))
        case 5 if values.dtype.kind in "iuf" and values.size:
            changed = values.astype("f8")
            wild = (np.nan, np.inf, -1, 1e300, 0.5)
            changed.reshape(-1)[random.randrange(changed.size)] = random.choice(wild)
            file.create_dataset(name, data=changed)
        case 6:
            file.create_dataset(name, data=random.choice(("x", 3, b"\xff\xfe", 2.5)))
        case 7:
            file.create_dataset(name, data=np.asarray(values).reshape(1, -1)[:, :0])
        case _:
            kind = h5py.vlen_dtype(np.dtype("i4"))
            file.create_dataset(name, shape=(random.choice((3, len(make_cells.IDS))),), dtype=kind)


def use_cells(path: Path) -> None:
    """Open, take a column, rank all cells."""
    bundle = open_bundle(TINY, verify=False)
    with open_cells(path, bundle, CellOptions()) as reader:
        for name in list(reader.obs_columns)[:2]:
            reader.obs_column(name)
        for _ in reader.chunks():
            pass


def targets() -> list[Target]:
    """Of this file."""
    loads = ("c2t.runtime.cells.formats", "scipy.sparse")
    return [
        Target(
            name="h5ad-structure",
            make=_make_structure,
            use=use_cells,
            prepare=prepare_cells,
            loads=loads,
        ),
        Target(
            name="h5ad-bytes", make=_make_bytes, use=use_cells, prepare=prepare_cells, loads=loads
        ),
    ]
