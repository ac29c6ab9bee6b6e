"""Write a job: what workers must know to describe ranges of a file.

python make_job.py BUNDLE CELLS.h5ad -o job.json

The paths are those of this machine, and must be the same on every worker. A worker compares hashes
before it describes anything.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.scale_out.job import make_job


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="of each worker; all cores if not given")
    options = parser.parse_args()
    describing = DescribeOptions(threads=options.threads)
    reading = CellOptions()
    bundle = open_bundle(options.bundle)
    with open_cells(options.cells, bundle, reading) as reader:
        job = make_job(bundle, options.cells, reader, reading=reading, describing=describing)
        options.output.write_bytes(job.encoded() + b"\n")
        print(f"{options.output}: {reader.n_cells:,} cells")


if __name__ == "__main__":
    main()
