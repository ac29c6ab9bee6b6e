"""What stands at a path that should be a file of cells: a folder, an address, nothing.

`check_cells_path` comes before all work: it opens no HDF5 file.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from c2t.runtime.cells.formats.converters import with_installation
from c2t.runtime.cells.formats.signature import check_signature
from c2t.runtime.system.errors import CellFileError

# Path() makes one slash of two.
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/+(.+)", re.IGNORECASE)
_FETCH = {"s3": "aws s3 cp {} .", "gs": "gsutil cp {} ."}


def check_cells_path(path: Path) -> None:
    """Refuse what is no readable HDF5 file, and say what it is.

    Raises:
        CellFileError: Nothing is there, an address, a folder, a pipe, a file of another kind, or
            one that may not be read.
    """
    if (address := _ADDRESS.fullmatch(path.as_posix())) is not None and not path.exists():
        raise _address_error(*address.groups())
    if path.is_dir():
        raise _folder_error(path)
    if not path.exists():
        problem = f"no such file: {path}"
        raise CellFileError(problem, hint="check the path")
    if not path.is_file():
        problem = f"{path} is a pipe or a device, which cannot be read from any place in it"
        raise CellFileError(problem, hint="save it to a file first")
    if not os.access(path, os.R_OK):
        problem = f"{path} may not be read"
        raise CellFileError(problem, hint="ask its owner for the right to, or copy it")
    try:
        check_signature(path)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise CellFileError(problem, hint="copy it to a local disk") from error


def _address_error(scheme: str, rest: str) -> CellFileError:
    scheme = scheme.lower()
    name = rest.rpartition("/")[2].partition("?")[0]
    if scheme == "file":
        hint = f"give its path: /{rest}"
    else:
        command = _FETCH.get(scheme, "curl -L -O {}").format(shlex.quote(f"{scheme}://{rest}"))
        hint = f"download it first: `{command}`, then describe {name}"
    return CellFileError(f"{scheme}://{rest} is an address, not a file here", hint=hint)


def _folder_error(path: Path) -> CellFileError:
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        names = set()
    python = (
        'convert it: `python -c "import {}(' + repr(str(path)) + ").write_h5ad('cells.h5ad')\"`"
    )
    if names & {".zgroup", ".zattrs", ".zmetadata", "zarr.json"}:
        return CellFileError(
            f"{path} is a zarr store, not an .h5ad file",
            hint=with_installation(python.format("anndata; anndata.read_zarr")),
        )
    if names & {"matrix.mtx", "matrix.mtx.gz"}:
        return CellFileError(
            f"{path} is a folder with a MatrixMarket matrix, not an .h5ad file",
            hint=with_installation(python.format("scanpy; scanpy.read_10x_mtx")),
        )
    if "manifest.json" in names:
        return CellFileError(
            f"{path} is a bundle's folder, not an .h5ad file",
            hint="give the bundle first and then the cells: `c2t describe BUNDLE CELLS.h5ad`",
        )
    inside = sorted(name for name in names if name.endswith(".h5ad"))
    hint = f"give one .h5ad file of it: {shlex.quote(str(path / inside[0]))}" if inside else ""
    return CellFileError(
        f"{path} is a folder, not an .h5ad file", hint=hint or "give one .h5ad file"
    )
