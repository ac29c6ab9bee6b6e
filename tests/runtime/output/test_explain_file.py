"""Evidence of a file: what was changed meanwhile is refused, and the file is opened once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from cli_process import random_cells
from explain_bundle import with_rules
from make_formats import write_table
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells import reader as reader_module
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.explainer import Explainer
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.output.evidence.explain_file import ExplainFileOptions, explain_file
from c2t.runtime.output.write import DescribeInterrupted
from c2t.runtime.system.errors import BundleError, OutputError

pytestmark = needs_anndata
GROUPS = ["b", "a", "b", "a", "b", "a", "b", "c"]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(with_rules(shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny")))


@pytest.fixture
def options(tmp_path: Path) -> ExplainFileOptions:
    made = random_cells(8)
    made.obs["cluster"] = GROUPS
    made.write_h5ad(tmp_path / "cells.h5ad")
    return ExplainFileOptions(
        cells=tmp_path / "cells.h5ad",
        reading=CellOptions(limit=8),
        explaining=ExplainOptions(runs=48),
    )


@pytest.mark.parametrize("group_by", [None, "cluster"])
@pytest.mark.parametrize("name", [None, "out.csv"])
@pytest.mark.parametrize(
    ("changed", "error"),
    [("tiny/projector.onnx", BundleError), ("cells.h5ad", OutputError)],
)
def test_what_changes_meanwhile_is_refused(
    bundle: Bundle,
    options: ExplainFileOptions,
    tmp_path: Path,
    group_by: str | None,
    name: str | None,
    changed: str,
    error: type[Exception],
) -> None:
    file = tmp_path / changed
    assert file.is_file()

    def report(sentence: str) -> None:
        if "runs each" in sentence:  # everything was opened
            file.write_bytes(file.read_bytes() + b"\0")

    output = None if name is None else tmp_path / name
    options = replace(options, output=output, group_by=group_by)
    with pytest.raises(error, match=r"changed (since|while)"):
        explain_file(bundle, options, pass_on=lambda one: None, report=report, progress=False)
    assert output is None or not output.exists()
    # Nobody knows which of the cells are right: none is kept for the next run.
    assert output is None or not (tmp_path / ".out.csv.partial").exists()


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
@pytest.mark.parametrize("group_by", [None, "cluster"])
def test_an_interrupted_run_goes_on(
    bundle: Bundle,
    options: ExplainFileOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group_by: str | None,
    name: str,
) -> None:
    explain = Explainer.explain
    told: list[str] = []

    def run(output: str) -> bytes:
        told.clear()
        mine = replace(options, output=tmp_path / output, group_by=group_by)
        explain_file(bundle, mine, pass_on=print, report=told.append, progress=False)
        return (tmp_path / output).read_bytes()

    whole = run(f"whole-{name}")
    monkeypatch.setattr(Explainer, "explain", _stopping(explain, after=3))
    with pytest.raises(DescribeInterrupted) as caught:
        run(name)
    assert (caught.value.done, caught.value.total) == (3, 8)
    left = sorted(path.name for path in tmp_path.glob(f"*{name}*"))
    assert left == [f".{name}.partial", f"whole-{name}"]
    monkeypatch.setattr(Explainer, "explain", _stopping(explain, after=5))  # that is all it needs
    assert run(name) == whole
    assert "going on after 3 of 8 cells that an earlier run explained" in told
    assert not (tmp_path / f".{name}.partial").exists()


def _stopping(explain: Callable[..., Iterator[CellEvidence]], *, after: int) -> object:
    """`Explainer.explain`, interrupted when more than so many cells are asked for."""

    def stopping(self: Explainer, chunks: Iterable[EncodedCells]) -> Iterator[CellEvidence]:
        for number, one in enumerate(explain(self, chunks)):
            if number == after:
                raise KeyboardInterrupt
            yield one

    return stopping


def test_groups_open_the_file_once(
    bundle: Bundle, options: ExplainFileOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_store: Callable[..., object] = reader_module.open_store

    def counted(*arguments: object) -> object:
        opened.append(arguments)
        return open_store(*arguments)

    monkeypatch.setattr(reader_module, "open_store", counted)
    done = explain_file(
        bundle,
        replace(options, group_by="cluster", per_group=2),
        pass_on=lambda one: None,
        report=lambda sentence: None,
        progress=False,
    )
    assert (done.groups, done.cells, len(opened)) == (3, 5, 1)


def test_groups_of_a_table_whose_genes_only_the_bundle_knows(
    bundle: Bundle, options: ExplainFileOptions, tmp_path: Path
) -> None:
    """Which way round a table of symbols stands is told by the bundle's genes."""
    cells = random_cells(8)
    cells.X[5, 7] = 0
    genes = bundle.genes
    names = {
        genes.ensembl_id[gene].decode(): alias.decode()
        for alias, gene in zip(genes.alias, genes.alias_gene, strict=True)
    }
    cells.var_names = [names.get(name, name) for name in cells.var_names]
    table = write_table(tmp_path / "cells.csv", cells, front={"cluster": GROUPS})
    found = []
    explain_file(
        bundle,
        replace(options, cells=table, group_by="cluster"),
        pass_on=found.append,
        report=lambda sentence: None,
        progress=False,
    )
    assert [(group.group, group.size) for group in found] == [("a", 3), ("b", 4), ("c", 1)]


def test_a_narrower_selection_reads_the_same_cells(
    bundle: Bundle, options: ExplainFileOptions
) -> None:
    places = [0, 3, 5, 7]
    with open_cells(options.cells, bundle) as narrowed:
        narrowed.keep(places)
        (kept,) = narrowed.chunks()
    with open_cells(options.cells, bundle, CellOptions(cells=places)) as chosen:
        (asked,) = chosen.chunks()
    assert list(kept.ids) == list(asked.ids) == [f"cell{place}" for place in places]
    assert kept.errors == asked.errors
    assert all((a == b).all() for a, b in zip(kept.tokens, asked.tokens, strict=True))
