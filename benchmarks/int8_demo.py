"""The demonstration model in INT8, calibrated on cells it was trained on, judged on all others.

c2t export examples/demo/checkpoint -o BUNDLE
python benchmarks/int8_demo.py BUNDLE CELLS.h5ad --label-map MAP.json --ontology CL.obo -o RESULT

Checked on every held-out cell: accuracy and ontology similarity against float32, token agreement,
the encoder's rows, the size, and that batches and drafts change no text.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.quantise.quantised_bundle import bytes_of
from c2t.calibration.ranges.system_inputs import encoder_inputs
from c2t.examples.demo.held_out import is_held_out
from c2t.export.phrases import phrase_table
from c2t.runtime.bench.record import Target, finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.int8_attention import choose_attention
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.generation.phrase_table import PHRASES_NAME

SEED = 0
# Batches and drafts that must make no difference; the first is what the others are held against.
WAYS = ((1, False), (4, False), (16, False), (1, True), (8, True))


def main() -> None:
    """Calibrate, then judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--label-map", type=Path)
    parser.add_argument("--ontology", type=Path)
    parser.add_argument("--calibration-cells", type=int, default=256)
    parser.add_argument("--estimator", type=Estimator, default=Estimator.mse)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    document = record("int8_demo", threads=options.threads, seed=SEED)
    source = open_bundle(options.bundle, verify=False)
    with open_cells(options.cells, source) as reader:
        seen = [i for i, name in enumerate(reader.cell_ids) if not is_held_out(name)]
        unseen = [i for i, name in enumerate(reader.cell_ids) if is_held_out(name)]
    with TemporaryDirectory() as folder:
        calibrated = calibrate_bundle(
            source,
            CalibrateOptions(
                cells=options.cells,
                output=Path(folder) / "int8",
                cells_count=options.calibration_cells,
                label_map=options.label_map,
                ontology=options.ontology,
                estimator=options.estimator,
                seed=SEED,
                threads=options.threads,
                reading=CellOptions(cells=seen),
            ),
            report=print,
        )
        bundle = open_bundle(Path(folder) / "int8")
        reading = CellOptions(cells=unseen)
        evaluation, _ = evaluate_bundle(
            bundle,
            EvaluateOptions(
                cells=options.cells,
                label_map=options.label_map,
                ontologies={"cell_type": options.ontology},
                reading=reading,
                describing=DescribeOptions(threads=options.threads),
            ),
            against=source,
        )
        cosine = least_cosine(source, bundle, options.cells, reading)
        size = calibrated.bytes / bytes_of(source)
        document["texts"] = texts_by_way(bundle, options.cells, reading, options.threads)
    document["engine"] = evaluation.judged.engine
    comparison = evaluation.comparison
    judged, against = evaluation.judged.fields["cell_type"], evaluation.against.fields["cell_type"]
    document["calibration"] = {
        "cells": len(calibrated.cells),
        "left_out": calibrated.left_out,
        "smoothed": sum(linear.strength > 0 for linear in calibrated.linears),
        "estimator": calibrated.estimator,
        "seconds": calibrated.seconds,
        "integer_products": sum(len(k.kernels) - len(k.float32) for k in calibrated.kernels),
        "products": len(calibrated.linears),
    }
    document["cell_type"] = {"int8": figures(judged), "float32": figures(against)}
    document["difference"] = msgspec.to_builtins(evaluation.differences["cell_type"])
    document["comparison"] = msgspec.to_builtins(comparison)
    targets = [
        target(
            "accuracy, points against float32",
            100 * evaluation.differences["cell_type"].accuracy.value,
            -0.5,
        ),
        *similarity_target(judged, against),
        target("token agreement", comparison.token_agreement.value, 0.97),
        target("least cosine of an encoder row", cosine, 0.999),
        target("share of texts that no batch or draft changes", unchanged(document["texts"]), 1.0),
        target("float32 size over INT8 size", 1 / size, 1 / 0.30),
    ]
    finish(document, targets, options.output)


def figures(score: Any) -> dict[str, Any]:
    """Accuracy and, where there is an ontology, similarity, with their intervals."""
    values = {"cells": score.cells, "accuracy": msgspec.to_builtins(score.accuracy)}
    if score.similarity is not None:
        values["similarity"] = msgspec.to_builtins(score.similarity.mean)
    return values


def similarity_target(judged: Any, against: Any) -> list[Target]:
    """The ontology similarity as a share of the float32 bundle's."""
    if judged.similarity is None:
        return []
    share = judged.similarity.mean.value / against.similarity.mean.value
    return [target("ontology similarity, share of float32's", share, 0.995)]


def least_cosine(first: Bundle, second: Bundle, path: Path, reading: CellOptions) -> float:
    """The least cosine between the encoder rows of two bundles, over all cells and rows."""
    one = EngineOptions(threads=1)
    sessions = [
        (b, open_session(b.file("encoder.onnx"), one, changed=choose_attention(b, one).graph))
        for b in (first, second)
    ]
    least = 1.0
    with open_cells(path, first, reading) as reader:
        for chunk in reader.chunks():
            for tokens in (t for t in chunk.tokens if len(t)):
                a, b = (s.run(["hidden"], encoder_inputs(of, tokens))[0][0] for of, s in sessions)
                norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
                least = min(least, float(((a * b).sum(axis=-1) / norms).min()))
    return least


def texts_by_way(
    bundle: Bundle, path: Path, reading: CellOptions, threads: int | None
) -> list[dict[str, Any]]:
    """How many texts each way of describing changes; drafts come from the bundle's own texts."""
    ways: list[dict[str, Any]] = []
    first: list[tuple[int, ...]] = []
    for batch, drafts in WAYS:
        describing = DescribeOptions(threads=threads, batch_size=batch, drafts=drafts)
        with open_cells(path, bundle, reading) as reader:
            texts = list(Describer(bundle, describing).describe(reader))
        tokens = [d.tokens for d in texts]
        if not first:
            first = tokens
            bundle = with_phrases(bundle, [d.text for d in texts[::4] if d.text])
        ways.append(
            {
                "batch": batch,
                "drafts": drafts,
                "cells": len(texts),
                "changed": sum(a != b for a, b in zip(tokens, first, strict=True)),
                "tokens_a_step": sum(map(len, tokens)) / sum(d.steps for d in texts),
            }
        )
    return ways


def with_phrases(bundle: Bundle, captions: list[str]) -> Bundle:
    """The bundle with a phrase table of some texts, if it has none of its own."""
    if PHRASES_NAME in bundle.manifest.files:
        return bundle
    from c2t.calibration.quantise.quantised_bundle import complete_manifest

    (end,) = bundle.manifest.generation.eos_token_ids[:1]
    tokenizer = Tokenizer.from_file(str(bundle.file("tokenizer.json")))
    phrase_table(captions, tokenizer, end).save(bundle.path / PHRASES_NAME)
    complete_manifest(bundle)
    return open_bundle(bundle.path)


def unchanged(ways: list[dict[str, Any]]) -> float:
    """Share of texts, over all ways."""
    return 1 - sum(way["changed"] for way in ways) / sum(way["cells"] for way in ways)


if __name__ == "__main__":
    main()
