"""What prompts begin with: when it stays float32, and that its keys and values fit the graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bundle import make_bundle
from tiny_models import TinySizes, tiny_cell

from c2t.calibration.quantise import float_prefix as module
from c2t.calibration.quantise.calibration_plan import CalibrationPlan, make_plan
from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.quantise.float_prefix import WIDER, widened_linears
from c2t.calibration.quantise.quantised_bundle import complete_manifest, write_quantised_bundle
from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.smoothing import find_fold
from c2t.calibration.ranges.activation_statistics import ChannelStatistics
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.linears import StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell, prefix_inputs
from c2t.calibration.ranges.tapped_graph import Tap
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.hashes import check_files
from c2t.runtime.bundle.manifest import DECODER_GRAPH
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.system.errors import BundleError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("tiny"), TinySizes()).bundle


def planned(bundle: Bundle, *, float_prefix: bool | None, smooth: bool = True) -> CalibrationPlan:
    cells = [
        CalibrationCell(gene_tokens=tiny_cell(length).numpy().astype(np.int32), text_tokens=text)
        for length, text in ((12, (9, 8, 7)), (20, (5, 6)), (30, tuple(range(10, 26))))
    ]
    return make_plan(
        TappedSystem(bundle, threads=1),
        cells,
        estimator=Estimator.mse,
        smooth=smooth,
        seed=0,
        float_prefix=float_prefix,
    )


def statistics(*runs: tuple[float, bool]) -> ChannelStatistics:
    """Of runs over one row [2] of a magnitude each; whether it is the prefix's."""
    channels = ChannelStatistics(SimpleNamespace(inputs=2), keep=4)
    for magnitude, of_prefix in runs:
        row = np.array([magnitude, 0.1], np.float32)
        channels.add(Tap(row, row[None]), of_prefix=of_prefix)
    return channels


def test_the_linears_that_a_prefix_widens() -> None:
    found = widened_linears(
        {
            "alike": statistics((3.9, True), (1.0, False)),
            "wider": statistics((WIDER, True), (1.0, False), (0.2, False)),
            "far wider": statistics((800.0, True), (2.0, False)),
            "of cells": statistics((1.0, True), (500.0, False)),
        }
    )
    assert [(item.linear, item.times) for item in found] == [("far wider", 400.0), ("wider", 4.0)]


def test_nothing_of_a_forgotten_prefix_is_left() -> None:
    channels = statistics((800.0, True), (2.0, False), (1.0, False))
    np.testing.assert_allclose(channels.largest, [800, 0.1])
    channels.forget_prefix()
    np.testing.assert_allclose(channels.largest, [2, 0.1])
    np.testing.assert_allclose(channels.rows, [[2, 0.1], [1, 0.1]])


def test_an_ordinary_prefix_stays_in_int8(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert planned(bundle, float_prefix=None).prefix is None
    monkeypatch.setattr(module, "WIDER", 0.1)
    assert planned(bundle, float_prefix=False).prefix is None
    prefix = planned(bundle, float_prefix=None).prefix
    assert prefix is not None
    assert prefix.token_ids == bundle.manifest.prompt.prefix_ids
    assert {item.linear for item in prefix.widened} >= {"layers.0.mlp.down", "layers.1.mlp.down"}


def test_scales_do_not_see_a_prefix_that_stays_float32(bundle: Bundle) -> None:
    graph = StoredGraph(bundle.file(DECODER_GRAPH))
    run = TappedSystem(bundle, threads=1).run_prefix([])
    assert run is not None
    of_prefix = {name: float(tap.largest.max()) for name, tap in run.taps.items()}
    plans = [planned(bundle, float_prefix=keeps, smooth=False) for keeps in (False, True)]
    with_it, without = (
        {r.linear: r.largest for r in plan.reports if r.graph == DECODER_GRAPH} for plan in plans
    )
    assert set(with_it) == set(without) == {linear.name for linear in graph.linears()}
    for name, largest in with_it.items():
        assert largest == max(without[name], of_prefix[name])
    assert with_it != without


def test_keys_and_values_are_those_of_the_smoothed_graph(bundle: Bundle, tmp_path: Path) -> None:
    """Smoothing divides values inside the graph, so what is stored must be divided, too."""
    plan, graph = planned(bundle, float_prefix=True), StoredGraph(bundle.file(DECODER_GRAPH))
    assert plan.prefix is not None
    recipe, (linear,) = plan.recipes[DECODER_GRAPH], graph.linears()[1:2]
    # The search may find nothing to gain in so small a model, so its factors are ours.
    draw, fold = np.random.default_rng(0), find_fold(graph, linear)
    assert fold is not None
    assert linear.name == "layers.0.attention.output"
    shared = draw.uniform(0.2, 5, linear.inputs // fold.group // fold.head_size * fold.head_size)
    factors = np.repeat(shared.reshape(-1, 1, fold.head_size), fold.group, axis=1).reshape(-1)
    linears = dict(recipe.linears)
    linears[linear.name] = replace(
        linears[linear.name], factors=factors.astype(np.float32), fold=fold
    )
    recipe = replace(recipe, linears=linears)
    smoothed = tmp_path / "decoder.onnx"
    write_quantised(graph, smoothed, recipe.without(set(recipe.linears)))
    sizes = bundle.manifest.decoder
    names = [f"present_{name}" for name in sizes.cache_names]
    inputs = prefix_inputs(bundle, plan.prefix.token_ids)
    expected = open_session(smoothed, EngineOptions(threads=1)).run(names, inputs)
    found = plan.prefix.under(graph, recipe).keys_values
    tokens = len(plan.prefix.token_ids)
    assert found.shape == (sizes.layers, 2, sizes.kv_heads, tokens, sizes.head_size)
    for number, cache in enumerate(expected):
        np.testing.assert_allclose(found[number // 2, number % 2], cache[0], rtol=0, atol=1e-5)
    plain = np.concatenate(plan.prefix.caches).reshape(found.shape)
    assert np.abs(found - plain)[0, 1].max() > 0.01  # values of the smoothed layer
    np.testing.assert_array_equal(found[:, 0], plain[:, 0])  # keys


@pytest.fixture(scope="module")
def made(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An INT8 bundle with a float32 prefix."""
    folder, plan = tmp_path_factory.mktemp("int8"), planned(bundle, float_prefix=True)
    complete_manifest(
        write_quantised_bundle(bundle, folder, plan.recipes, precision="int8", prefix=plan.prefix)
    )
    return open_bundle(folder)


def texts(bundle: Bundle, **options: object) -> list[tuple[int, ...]]:
    cells = [tiny_cell(length).numpy().astype(np.int32) for length in (9, 12, 20, 30)]
    chosen = DescribeOptions(threads=1, engine="cpu", **options)  # type: ignore[arg-type]
    describer = Describer(bundle, chosen)
    return [d.tokens for d in describer.describe([EncodedCells.of_tokens(cells)])]


def test_texts_are_the_same_in_every_way_of_writing(made: Bundle) -> None:
    assert made.constant_prefix is not None
    alone = texts(made, batch_size=1, drafts=False)
    assert len({*alone}) > 1
    assert texts(made, batch_size=4, drafts=False) == alone
    assert texts(made, batch_size=3, drafts=True) == alone


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 3}, {"num_beams": 3}, {"drafts": False}, {"prepack": False}],
    ids=["plain", "batch", "beams", "no drafts", "ONNX Runtime's short steps"],
)
def test_every_search_uses_what_is_stored(made: Bundle, options: dict[str, object]) -> None:
    """Other keys and values give other texts: nothing computes them again."""
    alone = texts(made, **options)
    states = check_files(made.path, made.manifest.files)
    changed = Bundle(made.path, made.manifest, made.digest, states)
    stored = changed.constant_prefix
    assert stored is not None
    draw = np.random.default_rng(0).standard_normal(stored.keys_values.shape)
    changed.__dict__["constant_prefix"] = replace(stored, keys_values=draw.astype(np.float32))
    assert texts(changed, **options) != alone


def test_a_changed_prefix_is_refused(made: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in made.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((folder / "prefix.data").read_bytes())
    content[5] ^= 1
    (folder / "prefix.data").write_bytes(content)
    with pytest.raises(BundleError, match=r"prefix\.data"):
        open_bundle(folder)
