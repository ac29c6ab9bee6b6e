"""An HDF5 file that is packed with gzip (`.h5ad.gz`): unpacked into a private temporary file.

HDF5 is read from any place of it, and gzip only from its start. So the file takes room on the disk
of temporary files while it is open; where the system allows, it has no name there, so that nothing
is left behind whatever ends the process.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

from c2t.runtime.cells.formats.hdf5_cells import open_hdf5_cells
from c2t.runtime.cells.formats.opening import Opening
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.formats.spilled import check_room, no_room
from c2t.runtime.cells.formats.streams import read_block, reading, unpacked
from c2t.runtime.system.errors import CellFileError

BLOCK_BYTES = 16 << 20
# gzip itself ends at 1,032; dense counts, most of them zeros, reach about 60.
RATIO_MAX = 200
SMALL_BYTES = 1 << 26  # that may be unpacked of any file


def open_packed(path: Path, opening: Opening) -> CellStore:
    """Open a packed HDF5 file with cells.

    Raises:
        CellFileError: It is damaged, unpacks to far too much or to more than the disk has room
            for, or holds no cells.
    """
    handle, name = tempfile.mkstemp(prefix="c2t-cells-", suffix=".h5")
    place = Path(name)
    try:
        size = _unpack(path, handle)
        store = open_hdf5_cells(place, opening, name=path.name)
    except CellFileError as error:
        problem = error.problem.replace(str(place), str(path)).replace(place.name, path.name)
        hint = error.hint.replace(str(place), str(path))
        _remove(place)
        raise CellFileError(problem, hint=hint) from error
    except BaseException:
        _remove(place)
        raise
    if os.name == "nt":  # an open file cannot lose its name there
        close = store.close

        def close_and_remove() -> None:
            close()
            _remove(place)

        store.close = close_and_remove  # type: ignore[method-assign]
        weakref.finalize(store, _remove, place)
    else:
        _remove(place)
    said = f"{path.name} was unpacked to {size:,} bytes in {tempfile.gettempdir()} for this run; "
    store.warnings = (*store.warnings, said + "unpack it once with `gunzip -k` to save the time")
    return store


def _unpack(path: Path, handle: int) -> int:
    most = max(path.stat().st_size * RATIO_MAX, SMALL_BYTES)
    size = 0
    with os.fdopen(handle, "wb") as target, reading(str(path)), path.open("rb") as packed:
        stream = unpacked(packed)
        while block := read_block(stream, str(path), BLOCK_BYTES):
            size += len(block)
            if size > most:
                problem = f"{path} unpacks to more than {RATIO_MAX} times its size"
                hint = "no file of cells does so; if it is one, unpack it yourself with `gunzip`"
                raise CellFileError(problem, hint=hint)
            check_room(path.name, len(block))
            try:
                target.write(block)
            except OSError as error:
                raise no_room(path.name, error.strerror or str(error)) from error
    return size


def _remove(place: Path) -> None:
    place.unlink(missing_ok=True)
