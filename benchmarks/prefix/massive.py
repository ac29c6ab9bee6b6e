"""INT8 of a decoder whose first token has massive activations: as it is, and with a float32 prefix.

c2t export examples/demo/checkpoint -o BUNDLE
python benchmarks/prefix/massive.py examples/demo/checkpoint BUNDLE CELLS.h5ad --label-map MAP.json
    -o RESULT

The first bundle is the demonstration itself, whose first token is an ordinary one; the others have
massive values planted (`c2t.benchmarks.prefix.plant`). Each is calibrated on cells it was trained
on, in these ways, and judged on all held-out cells:

- "in int8": what prompts begin with is calibrated and run like everything else.
- "left out": it is left out of the calibration, but runs in int8.
- "float32": it is left out, and its keys and values are stored in float32.
- "decided": as `c2t calibrate` decides by itself.

"Not smoothed" is what a linear gets whose smoothing has no place, as in GPT-NeoX's MLP. The first
attempt has every linear in int8; what is judged is the bundle that passed the gate after it.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from c2t.benchmarks.prefix.plant import LAYER, Planting
from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.quantise.quantised_bundle import complete_manifest
from c2t.calibration.results.calibration import CalibrationReport, LinearReport
from c2t.examples.demo.held_out import is_held_out
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.manifest import DECODER_GRAPH, PREFIX_NAME
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.open import open_engines
from c2t.runtime.generation.bundle_prompts import bundle_prompts

SEED = 0
# First token's value over the median of the residual stream, and what the MLP's unit gives.
PLANTED = ((1000.0, 400.0), (10000.0, 4000.0))
WAYS = {"in int8": False, "float32": True, "decided": None}
OPENINGS = 20


def main() -> None:
    """Calibrate and judge each model in each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path, help="the checkpoint, exported")
    parser.add_argument("cells", type=Path)
    parser.add_argument("--label-map", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("prefix_massive", threads=options.threads, seed=SEED)
    demo = open_bundle(options.bundle, verify=False)
    with TemporaryDirectory() as name:
        judge = Judge(options, Path(name))
        models = [{"model": "demo", **judge.model(demo)}]
        planting = Planting(options.checkpoint, options.bundle, options.cells)
        for number, (massive, unit) in enumerate(PLANTED):
            place = Path(name) / f"planted{number}"
            planted = planting.make(place, massive=massive, unit=unit)
            checkpoint = CheckpointOptions(folder=place)
            export = ExportOptions(
                output=place / "bundle", checkpoint=checkpoint, cells=options.cells
            )
            bundle = export_bundle(export)
            float32 = judge.against(bundle, demo)
            models.append(
                {
                    "model": f"planted, {massive:g} times the median, unit {unit:g}",
                    "planted": msgspec.to_builtins(planted),
                    "float32_against_demo": float32,
                    **judge.model(bundle),
                }
            )
    document["models"] = models
    finish(document, list(targets(models)), options.output)


class Judge:
    """Calibrates on cells that training saw, and judges on all others."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self._options, self._scratch = options, scratch
        with open_cells(options.cells, open_bundle(options.bundle, verify=False)) as reader:
            names = reader.cell_ids
        self._seen = [i for i, name in enumerate(names) if not is_held_out(name)]
        self._unseen = [i for i, name in enumerate(names) if is_held_out(name)]

    def model(self, source: Bundle) -> dict[str, Any]:
        """All ways of one float32 bundle."""
        found: dict[str, Any] = {}
        for smooth in (True, False):
            for way, keeps in WAYS.items():
                if not smooth and keeps is None:
                    continue
                name = way if smooth else f"{way}, not smoothed"
                place = self._scratch / "int8"
                done = self._calibrate(source, place, keeps, smooth=smooth)
                bundle = open_bundle(place)
                found[name] = {**self.against(bundle, source), **facts(done)}
                if keeps:
                    found[name]["opening_ms"] = openings(bundle)
                    left_out = self.against(without_prefix(bundle), source)
                    found[name.replace(way, "left out")] = left_out
                print(name, found[name], flush=True)
                shutil.rmtree(place)
        return found

    def against(self, judged: Bundle, other: Bundle) -> dict[str, Any]:
        """Texts of all held-out cells, beside another bundle's."""
        options = EvaluateOptions(
            cells=self._options.cells,
            label_map=self._options.label_map,
            reading=CellOptions(cells=self._unseen),
        )
        evaluation, _ = evaluate_bundle(judged, options, against=other)
        comparison = evaluation.comparison
        assert comparison is not None
        assert comparison.token_agreement is not None
        assert comparison.kl_per_token is not None
        return {
            "accuracy": evaluation.judged.fields["cell_type"].accuracy.value,
            "accuracy_points": 100 * evaluation.differences["cell_type"].accuracy.value,
            "token_agreement": comparison.token_agreement.value,
            "identical_texts": comparison.identical_texts.value,
            "micronats_per_token": 1e6 * comparison.kl_per_token.value,
        }

    def _calibrate(
        self, source: Bundle, place: Path, keeps: bool | None, *, smooth: bool
    ) -> CalibrationReport:
        return calibrate_bundle(
            source,
            CalibrateOptions(
                cells=self._options.cells,
                output=place,
                cells_count=128,
                gate_cells=128,
                label_map=self._options.label_map,
                smooth=smooth,
                float_prefix=keeps,
                seed=SEED,
                threads=self._options.threads,
                reading=CellOptions(cells=self._seen),
                force_gate=True,
            ),
            report=print,
        )


def facts(done: CalibrationReport) -> dict[str, Any]:
    """What the calibration found."""
    return {
        "left_in_float32": done.left_out,
        "first_attempt": msgspec.to_builtins(done.attempts[0]),
        "float_prefix": msgspec.to_builtins(done.float_prefix),
        "bytes": done.bytes,
        "worst_linear": msgspec.to_builtins(min(of_decoder(done), key=lambda one: one.sqnr)),
        "planted_linear": msgspec.to_builtins(
            next(one for one in of_decoder(done) if one.linear == f"layers.{LAYER}.mlp.down")
        ),
    }


def of_decoder(done: CalibrationReport) -> list[LinearReport]:
    """The decoder's linears."""
    return [linear for linear in done.linears if linear.graph == DECODER_GRAPH]


def without_prefix(bundle: Bundle) -> Bundle:
    """The same graphs; what prompts begin with runs in them."""
    (bundle.path / PREFIX_NAME).unlink()
    files = {k: v for k, v in bundle.manifest.files.items() if k != PREFIX_NAME}
    changed = Bundle(bundle.path, bundle.manifest.replace(stored_prefix=(), files=files), "", {})
    complete_manifest(changed)
    return open_bundle(bundle.path)


def openings(bundle: Bundle) -> dict[str, float]:
    """Milliseconds until a prompt can run, with a stored prefix and by running it; medians."""
    decoder = open_engines(bundle, EngineOptions()).decoder
    stored = bundle_prompts(bundle)
    ways = {"stored": stored, "run": replace(stored, constant=None)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(OPENINGS):
        for way, prompts in ways.items():
            since = time.perf_counter()
            prompts.runner(decoder)
            times[way].append(1000 * (time.perf_counter() - since))
    return {way: float(np.median(values)) for way, values in times.items()}


def targets(models: list[dict[str, Any]]) -> Any:
    """The gate's own limits, for what `c2t calibrate` decides."""
    for model in models:
        decided = model["decided"]
        yield target(f"{model['model']}: accuracy, points", decided["accuracy_points"], -0.5)
        yield target(f"{model['model']}: token agreement", decided["token_agreement"], 0.97)


if __name__ == "__main__":
    main()
