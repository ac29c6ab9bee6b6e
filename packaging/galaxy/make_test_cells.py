"""Write the cells of the tests of the Galaxy wrapper and of the nf-core module.

Three cells with random counts of the genes that `tests/data/tiny_bundle` knows, in AnnData's form.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

GENES, CELLS = 60, 3
TARGET = Path(__file__).parent / "test-data/cells.h5ad"


def main(target: Path = TARGET) -> None:
    """Write the file; the same bytes each time."""
    counts = np.random.default_rng(11).poisson(0.7, (CELLS, GENES)).astype("<f4")
    text = h5py.string_dtype()
    names = {
        "obs": [f"cell{number}" for number in range(CELLS)],
        "var": [f"ENSG{number:011d}" for number in range(1, GENES + 1)],
    }
    with h5py.File(target, "w") as file:
        _encode(file, "anndata", "0.1.0")
        # HDF5's own times would differ from run to run.
        _encode(file.create_dataset("X", data=counts, track_times=False), "array", "0.2.0")
        for group, index in names.items():
            table = file.create_group(group)
            _encode(table, "dataframe", "0.2.0")
            table.attrs["_index"] = "_index"
            table.attrs["column-order"] = np.array([], dtype=text)
            column = table.create_dataset("_index", data=index, dtype=text, track_times=False)
            _encode(column, "string-array", "0.2.0")


def _encode(element: h5py.HLObject, kind: str, version: str) -> None:
    element.attrs.update({"encoding-type": kind, "encoding-version": version})


if __name__ == "__main__":
    main()
