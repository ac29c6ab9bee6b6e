"""The forms of files and folders that cells are read from."""

from __future__ import annotations

import enum


class Form(enum.Enum):
    """What stands at a path, as far as its first bytes or its names say."""

    hdf5 = "HDF5"
    packed_hdf5 = "HDF5 that is packed with gzip"
    matrix_market = "a MatrixMarket matrix"
    zarr = "a zarr store"
    table = "a text table"
