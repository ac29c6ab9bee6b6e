"""The benchmark's figures: turns, ratios, shares, texts, and the page and picture made of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_process import make_cells
from tiny_data import tiny_bundle, tiny_cell
from typer.testing import CliRunner

import c2t.cli
from c2t.runtime.bench.bench_text import bench_text
from c2t.runtime.bench.bundle_bench import BundleBenchOptions, bench_bundle
from c2t.runtime.bench.contest import OurTexts, latency, throughput
from c2t.runtime.bench.decoder_steps import DecoderBenchOptions, OurDecoder, bench_decoder
from c2t.runtime.bench.interleave import interleave, median_ratio, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.picture import bench_picture
from c2t.runtime.bench.record import target, target_lines
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.system.errors import EngineError

LENGTHS = (48, 20, 5, 20)
QUICK = DescribeOptions(threads=1, max_new_tokens=4)


class Peer:
    """This package under another name, as a peer that writes the same texts."""

    name = "peer"

    def __init__(self, bundle: Bundle) -> None:
        self._ours = OurTexts(bundle, QUICK)

    def describe(self, cells: list[np.ndarray], beams: int) -> list[list[int]]:
        return self._ours.describe(cells, beams)


class WrongPeer(Peer):
    """Its text of the cell of 5 gene tokens lacks the last token."""

    def describe(self, cells: list[np.ndarray], beams: int) -> list[list[int]]:
        texts = super().describe(cells, beams)
        return [
            text[:-1] if len(cell) == 5 else text for cell, text in zip(cells, texts, strict=True)
        ]


class WrongDecoder(OurDecoder):
    """A peer whose steps give the logits in reverse."""

    def step(self, tokens: list[int]) -> np.ndarray:
        return super().step(tokens)[::-1]


@pytest.fixture
def bundle() -> Bundle:
    return tiny_bundle().bundle


@pytest.fixture(scope="module")
def cells_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    make_cells(path, 4)
    return path


@pytest.fixture(scope="module")
def probe() -> SpeedProbe:
    return SpeedProbe(1, read_bytes=1 << 20)


@pytest.fixture
def cells() -> list[np.ndarray]:
    return [tiny_cell(length, seed) for seed, length in enumerate(LENGTHS)]


def test_contestants_take_turns_in_changing_order() -> None:
    order = ""

    def run(name: str) -> object:
        nonlocal order
        order += name
        return None

    times = interleave({"a": lambda: run("a"), "b": lambda: run("b")}, 3)
    assert order == "ab" + "ab" + "ba" + "ab"
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}


def test_ratio_is_the_median_of_ratios_not_the_ratio_of_medians() -> None:
    assert median_ratio([10, 20, 60], [5, 4, 6]) == 5
    assert spread([1, 2, 3, 4, 11]).p50 == 3
    assert spread([1, 2, 3, 4, 11]).p90 == pytest.approx(8.2)
    assert spread([3, 1, 2]).least == 1


def test_speed_of_the_machine(probe: SpeedProbe) -> None:
    assert probe.bytes_per_second(0.5) == 2 << 20
    assert all(figure > 0 for figure in probe.measure(1).values())


def test_targets_in_words() -> None:
    lines = target_lines([target("a", 1.5, 1.5), target("b", 1.0, 1.5)])
    assert lines == ["reached  a: 1.5, target 1.5", "MISSED   b: 1, target 1.5"]


def test_beams_are_those_that_it_was_opened_with(bundle: Bundle, cells: list[np.ndarray]) -> None:
    with pytest.raises(EngineError, match="c2t has 1 beams, not 3"):
        OurTexts(bundle, QUICK).describe(cells, 3)


def test_latency_and_throughput_compare_times_and_texts(
    bundle: Bundle, cells: list[np.ndarray]
) -> None:
    ours = OurTexts(bundle, QUICK)
    alone = latency([ours, Peer(bundle)], cells, beams=1, repeats=2)
    assert alone["seconds"]["c2t"]["runs"] == 2 * len(cells)
    assert alone["same_texts"] == {"peer": (len(cells), len(cells))}
    many = throughput([(ours, 99), (Peer(bundle), 2)], cells, repeats=1)
    assert many["times_faster_than_the_best_peer"] == many["times_faster_than"]["peer"]
    assert many["same_texts"] == alone["same_texts"]
    assert latency([ours, WrongPeer(bundle)], cells, beams=1, repeats=1)["same_texts"] == {
        "peer": (len(cells) - 1, len(cells))
    }


def test_decoder_is_checked_before_it_is_timed(bundle: Bundle, probe: SpeedProbe) -> None:
    ours = OurDecoder(bundle, EngineOptions(threads=1))
    peer = OurDecoder(bundle, EngineOptions(threads=1), "peer")
    options = DecoderBenchOptions(rounds=1, steps=1)
    figures = bench_decoder(bundle, [ours], [peer], probe, options)
    assert figures["weight_bytes"] == bundle.file("decoder.onnx.data").stat().st_size
    assert figures["step_share_of_floor"]["c2t"] > 0
    assert set(figures["drafts"]) == {"4", "16"}
    assert max(figures["largest_logit_difference"].values()) < 1e-5
    wrong = WrongDecoder(bundle, EngineOptions(threads=1), "wrong")
    with pytest.raises(EngineError, match=r"logits of wrong \(step\) differ"):
        bench_decoder(bundle, [ours], [wrong], probe, options)


def test_bundle_as_document_page_and_picture(bundle: Bundle, cells_file: Path) -> None:
    options = BundleBenchOptions(
        cells=cells_file,
        limit=2,
        repeats=1,
        describing=QUICK,
    )
    document = bench_bundle(
        bundle,
        options,
        text_peers=[Peer(bundle)],
        decoder_peers=[OurDecoder(bundle, EngineOptions(threads=1), "peer")],
    )
    json.dumps(document)
    stages = ("read", "encode", "embed", "encoder", "projector", "prefill", "decode", "text")
    assert tuple(document["stages"]["seconds"]) == stages
    assert document["latency"]["same_texts"] == {"peer": (2, 2)}
    start = document["start"]
    assert 0 < start["import_seconds"] < start["first_token_seconds"] <= start["text_seconds"]
    assert start["peak_resident_bytes"] >= start["resident_bytes_after_opening"] > 0
    page = bench_text(document)
    assert "peer, batches of 1" in page
    assert "prefill" in page
    picture = ElementTree.fromstring(bench_picture(document))
    words = [mark.text for mark in picture if mark.tag.endswith("text")]
    assert {"c2t", "peer", "encoder", "reading the weights once"} <= set(words)


def test_command_writes_figures_page_and_picture(
    bundle: Bundle, cells_file: Path, tmp_path: Path
) -> None:
    arguments = ["bench", str(bundle.path), "--cells", str(cells_file), "--limit", "1"]
    arguments += ["--repeats", "1", "--max-new-tokens", "2", "--threads", "1"]
    folder = tmp_path / "report"
    extra = ["-o", str(folder), "--json"]
    done = CliRunner().invoke(c2t.cli.app, arguments + extra)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["benchmark"] == "bundle"
    assert {file.name for file in folder.iterdir()} == {"bench.json", "bench.txt", "bench.svg"}
    assert json.loads((folder / "bench.json").read_text()) == document
    assert os.fspath(folder) in done.stderr
    again = CliRunner().invoke(c2t.cli.app, arguments + extra)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    forced = CliRunner().invoke(c2t.cli.app, [*arguments, "-o", str(folder), "--force"])
    assert forced.exit_code == 0, forced.output
    assert forced.stdout == (folder / "bench.txt").read_text()


def test_command_looks_at_the_cells_before_peers_load(bundle: Bundle, tmp_path: Path) -> None:
    peers = ["--against", "torch", "--checkpoint", str(tmp_path / "none")]
    cells = ["--cells", str(tmp_path / "none.h5ad")]
    done = CliRunner().invoke(c2t.cli.app, ["bench", str(bundle.path), *peers, *cells])
    assert done.exit_code == 1
    assert "none.h5ad" in done.stderr


def test_command_knows_its_peers() -> None:
    wrong = CliRunner().invoke(c2t.cli.app, ["bench", "B", "--against", "torch,tensorflow"])
    assert wrong.exit_code == 2
    assert "no peer is called tensorflow" in wrong.stderr
