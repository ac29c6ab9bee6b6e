"""Descriptions in a copy of the file of cells: what is refused before the work, what is kept."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from make_cells import CELLS, adata, write

from c2t.runtime.output.obs import check_obs, write_obs
from c2t.runtime.output.record import Record
from c2t.runtime.output.write import plan_outputs
from c2t.runtime.system.errors import C2TError, OutputError


def record(row: int, text: str) -> Record:
    return Record(
        row=row,
        cell="c",
        text=text,
        confidence=0.5,
        cell_type_confidence=None,
        genes_used=7,
        error=None,
    )


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write(tmp_path / "cells.h5ad", adata())


def described(cells: Path, about: dict[str, object] | None = None) -> Path:
    check_obs(cells)
    copy = cells.with_name("copy.h5ad")
    copy.touch()
    write_obs(cells, copy, [record(1, "a \0 cell")], about or {})
    return copy


def as_values(group: h5py.Group, name: str, *, mask: bool) -> None:
    """Turn a column into the nullable strings of anndata 0.11 and later."""
    values = group[name][:]
    del group[name]
    made = group.create_group(name)
    made.attrs["encoding-type"] = "nullable-string-array"
    made.attrs["encoding-version"] = "0.1.0"
    written = made.create_dataset("values", data=values, dtype=h5py.string_dtype())
    written.attrs["encoding-type"], written.attrs["encoding-version"] = "string-array", "0.2.0"
    if mask:
        hidden = made.create_dataset("mask", data=np.zeros(len(values), dtype=bool))
        hidden.attrs["encoding-type"], hidden.attrs["encoding-version"] = "array", "0.2.0"


def as_categories(group: h5py.Group, name: str) -> None:
    values = group[name][:]
    del group[name]
    made = group.create_group(name)
    made.attrs["encoding-type"], made.attrs["encoding-version"] = "categorical", "0.2.0"
    made.attrs["ordered"] = False
    labels = made.create_dataset("categories", data=values, dtype=h5py.string_dtype())
    labels.attrs["encoding-type"], labels.attrs["encoding-version"] = "string-array", "0.2.0"
    codes = made.create_dataset("codes", data=np.arange(len(values), dtype="i1"))
    codes.attrs["encoding-type"], codes.attrs["encoding-version"] = "array", "0.2.0"


def array_of_one(group: h5py.Group) -> None:
    """The attributes of R."""
    del group.attrs["_index"]
    group.attrs.create("_index", ["_index"], dtype=h5py.string_dtype())


INDICES: dict[str, Callable[[h5py.Group], None]] = {
    "nullable strings": lambda obs: as_values(obs, "_index", mask=True),
    "categorical": lambda obs: as_categories(obs, "_index"),
    "no columns": lambda obs: obs.attrs.__setitem__("column-order", np.zeros(0)),
}


@needs_anndata
@pytest.mark.parametrize("kind", INDICES)
def test_every_index_can_be_written_to(kind: str, cells: Path) -> None:
    with h5py.File(cells, "r+") as file:
        INDICES[kind](file["obs"])
    obs = anndata.read_h5ad(described(cells)).obs
    assert obs.index.tolist() == [f"cell{i}" for i in range(CELLS)]
    assert obs["c2t_description"].tolist()[:3] == ["", "a � cell", ""]


@pytest.mark.parametrize("change", [array_of_one, lambda obs: as_values(obs, "_index", mask=False)])
def test_indices_that_anndata_itself_does_not_read(
    change: Callable[[h5py.Group], None], cells: Path
) -> None:
    with h5py.File(cells, "r+") as file:
        change(file["obs"])
    with h5py.File(described(cells)) as file:
        assert file["obs/c2t_description"].asstr()[1] == "a � cell"


@needs_anndata
def test_text_that_hdf5_cannot_hold_costs_one_character(cells: Path) -> None:
    copy = anndata.read_h5ad(described(cells, {"bundle": "a\0b", "inner": {"x": "\0", "n": 1}}))
    assert copy.obs["c2t_description"].iloc[1] == "a � cell"
    assert copy.uns["c2t"]["bundle"] == "a�b"
    assert copy.uns["c2t"]["inner"]["x"] == "�"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_permissions_of_the_file_are_kept(mode: int, cells: Path) -> None:
    cells.chmod(mode)
    assert stat.S_IMODE(described(cells).stat().st_mode) == mode | stat.S_IWUSR


def link_column(file: h5py.File) -> None:
    file["obs"]["c2t_error"] = h5py.ExternalLink("other.h5", "/x")


def link_uns(file: h5py.File) -> None:
    file["away"] = h5py.ExternalLink("other.h5", "/")
    del file["uns"]
    file["uns"] = h5py.SoftLink("/away/uns")


def uns_of_numbers(file: h5py.File) -> None:
    del file["uns"]
    file["uns"] = 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: f["obs"].attrs.__delitem__("_index"), "its `obs` is no data frame"),
        (lambda f: f["obs"].__delitem__("_index"), "/obs has no index"),
        (link_column, "/obs/c2t_error is a link to another file"),
        (link_uns, "/uns is a link to another file"),
        (uns_of_numbers, "holds no group where /uns should be"),
    ],
)
def test_what_cannot_be_added_to_is_refused_before_the_work(
    change: Callable[[h5py.File], None], problem: str, cells: Path
) -> None:
    with h5py.File(cells, "r+") as file:
        change(file)
    with pytest.raises(C2TError, match=problem):
        plan_outputs(cells, cells.with_name("out.h5ad"))


def test_file_that_is_cut_off_is_refused_before_the_work(cells: Path) -> None:
    content = cells.read_bytes()
    cells.write_bytes(content[: len(content) // 2])
    with pytest.raises(C2TError, match="is cut off after"):
        plan_outputs(cells, None, write_obs=True)


def test_error_of_hdf5_while_writing_is_named(cells: Path) -> None:
    with h5py.File(cells, "r+") as file:
        file["obs"].attrs["column-order"] = np.array(["cell_type"], dtype="S9")
    content = bytearray(cells.read_bytes())
    at = content.rfind(b"SNOD")  # an index of members
    content[at : at + 4] = b"XXXX"
    cells.write_bytes(content)
    copy = cells.with_name("copy.h5ad")
    copy.touch()
    with pytest.raises((OutputError, C2TError)) as caught:
        write_obs(cells, copy, [], {})
    assert caught.value.hint
