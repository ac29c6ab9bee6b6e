"""The filters that an HDF5 data set is packed with: which are missing, and what installs them."""

from __future__ import annotations

import importlib
from typing import Any

from c2t.runtime.system.errors import CellFileError

PLUGIN = "hdf5plugin"
# Numbers that the HDF Group has given out, and the filters that hdf5plugin brings.
IN_PLUGIN = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
OTHERS = {
    4: "SZIP",
    305: "LZO",
    32000: "LZF",
    32003: "Snappy",
    32016: "BitGroom",
    32023: "Granular BitRound",
}


def check_filters(dataset: Any, key: str) -> None:
    """Refuse a data set that is packed by a filter that is not installed.

    hdf5plugin registers its filters when it is imported, which happens only where one is missing.

    Raises:
        CellFileError: Names the filter, and the package that has it.
    """
    import h5py

    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[:2] for number in range(plist.get_nfilters())]
    for position, (number, flags) in enumerate(filters):
        if h5py.h5z.filter_avail(number) or _is_unused(dataset, position, flags):
            continue
        if number in IN_PLUGIN and _import_plugin() and h5py.h5z.filter_avail(number):
            continue
        name = IN_PLUGIN.get(number) or OTHERS.get(number) or "a filter unknown here"
        problem = f"{key} is packed by HDF5 filter {number} ({name}), which is not installed"
        hint = "write the file again with gzip: `adata.write_h5ad(path, compression='gzip')`"
        if number in IN_PLUGIN:
            hint = f"run `pip install {PLUGIN}`, which has it, or {hint}"
        raise CellFileError(problem, hint=hint)


def _is_unused(dataset: Any, position: int, flags: int) -> bool:
    """Whether nothing was packed: no data, or an optional filter that the writer lacked too."""
    import h5py

    chunks = dataset.id.get_num_chunks()
    if not chunks:
        return True
    if not flags & h5py.h5z.FLAG_OPTIONAL:
        return False
    return bool(dataset.id.get_chunk_info(0).filter_mask >> position & 1)


def _import_plugin() -> bool:
    try:
        importlib.import_module(PLUGIN)
    except ImportError:
        return False
    return True
