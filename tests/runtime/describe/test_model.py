"""A model that stays open: engines once, threads, descriptions in any order."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime
import pytest
from cli_process import make_cells, random_cells
from serve_cells import counts, described

import c2t
from c2t.runtime.cells.formats.h5ad import H5adStore
from c2t.runtime.system.errors import EngineError

ONE_WORKER = c2t.DescribeOptions(threads=1, engine="cpu")
SEVERAL = c2t.DescribeOptions(threads=3, batch_size=2, engine="cpu")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return make_cells(tmp_path / "cells.h5ad", 20)


@pytest.fixture
def model(tiny_bundle_folder: Path):
    with c2t.open(tiny_bundle_folder, ONE_WORKER) as model:
        yield model


@pytest.fixture
def opened_sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Graphs that ONNX Runtime has opened, whole or a piece of them."""
    opened = list[str]()

    class Counting(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
        def __init__(self, graph: str | bytes, *args: object, **kwargs: object) -> None:
            opened.append("a piece" if isinstance(graph, bytes) else Path(graph).name)
            super().__init__(graph, *args, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Counting)
    return opened


def test_engines_open_once(model: c2t.Model, cells: Path, opened_sessions: list[str]) -> None:
    first = [(r.cell, r.text) for r in model.describe(cells)]
    once = list(opened_sessions)
    assert once
    assert [(r.cell, r.text) for r in model.describe(cells)] == first
    beams = c2t.DescribeOptions(threads=1, engine="cpu", num_beams=2)
    # Cells 3 and 5 of these have nothing that could be described.
    assert sum(r.error is None for r in model.describe(cells, beams)) == 18
    assert opened_sessions == once
    list(model.describe(cells, c2t.DescribeOptions(threads=2, engine="cpu", prepack=False)))
    assert len(opened_sessions) > len(once)  # other weights in memory were asked for


def test_close_frees_the_engines(tiny_bundle_folder: Path, cells: Path) -> None:
    with c2t.open(tiny_bundle_folder, SEVERAL) as model:
        assert len(list(model.describe(cells))) == 20
        engines = model.describer().engines
        gone = [weakref.ref(part) for part in (engines.encoder, engines.decoder)]
        gone.append(weakref.ref(model.bundle.gene_embedding_tables))
        del engines
    gc.collect()
    assert [part() for part in gone] == [None] * 3
    with pytest.raises(EngineError, match="is closed"):
        next(model.describe(cells))
    model.close()  # once more is no error


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_threads_may_share_a_model(
    model: c2t.Model, cells: Path, options: c2t.DescribeOptions
) -> None:
    expected = [r.text for r in model.describe(cells, options)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [r.text for r in model.describe(cells, options)], range(4)))
    assert found == [expected] * 4


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_two_iterators_may_be_read_in_turn(
    model: c2t.Model, cells: Path, options: c2t.DescribeOptions
) -> None:
    expected = [r.text for r in model.describe(cells, options)]
    turns = list(zip(model.describe(cells, options), model.describe(cells, options), strict=True))
    assert [(a.text, b.text) for a, b in turns] == [(text, text) for text in expected]


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
@pytest.mark.parametrize("kind", ["describe", "describe_keyed"])
def test_an_abandoned_iterator_leaves_nothing_behind(
    model: c2t.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options
) -> None:
    path = make_cells(tmp_path / "many.h5ad", 300)
    closed: list[str] = []
    close = H5adStore.close
    monkeypatch.setattr(H5adStore, "close", lambda s: (closed.append(s.name), close(s)))
    threads = set(threading.enumerate())
    described = getattr(model, kind)(path, options)
    next(described)
    assert not closed
    del described
    gc.collect()
    assert closed == ["many.h5ad"]
    assert set(threading.enumerate()) == threads
    assert len(list(model.describe(path, options))) == 300  # and the model goes on


@pytest.mark.parametrize("options", [ONE_WORKER, SEVERAL])
def test_descriptions_in_any_order_have_their_keys(
    model: c2t.Model, cells: Path, options: c2t.DescribeOptions
) -> None:
    expected = {number: r.text for number, r in enumerate(model.describe(cells, options))}
    found = {key: r.text for key, r in model.describe_keyed(cells, options)}
    assert found == expected
    chosen = c2t.CellOptions(cells=[3, 11])
    assert {key for key, _ in model.describe_keyed(cells, options, reading=chosen)} == {3, 11}


def test_descriptions_line_up_with_an_object(model: c2t.Model) -> None:
    cells = random_cells(4)
    cells.obs["filter_pass"] = [1, 0, 1, 1]
    assert [r.cell for r in model.describe(cells)] == list(cells.obs_names)
    for reading, count in ((c2t.CellOptions(), 3), (c2t.CellOptions(limit=2), 2)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(list(model.describe(cells, reading=reading))) == count


@pytest.mark.parametrize("kind", ["describe", "describe_keyed"])
def test_warnings_point_at_the_caller(model: c2t.Model, kind: str) -> None:
    cells = random_cells(3)
    cells.obs_names = ["a", "b", "a"]
    with pytest.warns(UserWarning, match="1 cells have the name of an earlier cell") as caught:
        assert len(list(getattr(model, kind)(cells))) == 3
    assert caught[0].filename == __file__


def test_threads_with_different_options_do_not_disturb_each_other(
    tiny_bundle_folder: Path,
) -> None:
    """Options share engines that were opened once, but no buffer that a step writes into."""
    options = [
        c2t.DescribeOptions(threads=1, engine="cpu", max_new_tokens=16 - n, drafts=n % 2 == 0)
        for n in range(4)
    ]
    values = counts(40)
    with c2t.open(tiny_bundle_folder) as model:
        alone = [described(model, values, chosen) for chosen in options]
        found: dict[int, object] = {}

        def work(number: int) -> None:
            found[number] = [described(model, values, options[number]) for _ in range(5)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {number: [alone[number]] * 5 for number in range(4)}
