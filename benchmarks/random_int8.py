"""An INT8 bundle of random weights, for timing: scales from one cell, no smoothing and no gate.

`c2t calibrate` takes about an hour at 1B sizes, to find scales that keep the texts. What is timed
does not depend on them, and texts of random weights are worth nothing anyway.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/random_int8.py BUNDLE -o INT8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from c2t.calibration.quantise.calibration_plan import make_plan
from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.quantise.quantised_bundle import complete_manifest, write_quantised_bundle
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.system_inputs import CalibrationCell
from c2t.runtime.bundle.bundle import open_bundle

SEED = 0


def main() -> None:
    """Take scales from the bundle's first golden cell, and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="a float32 bundle of random weights")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    options.output.mkdir()
    source = open_bundle(options.bundle, verify=False)
    golden = source.golden.cells[0]
    genes = np.array(golden.gene_tokens, np.int32)
    cell = CalibrationCell(gene_tokens=genes, text_tokens=golden.token_ids)
    system = TappedSystem(source, threads=options.threads)
    plan = make_plan(system, [cell], estimator=Estimator.max, smooth=False, seed=SEED)
    made = write_quantised_bundle(source, options.output, plan.recipes, precision="int8")
    complete_manifest(made)


if __name__ == "__main__":
    main()
