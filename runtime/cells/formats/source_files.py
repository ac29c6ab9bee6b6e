"""The files that cells are read from: one, or those of a matrix or of a store.

What tells one source of cells from another, or from itself after a change, looks at these alone: a
result may be written into the folder of a matrix while it is described.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from c2t.runtime.cells.formats.archive_members import FolderMembers
from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.mex.find import find_mex, open_mex_members, possible_files
from c2t.runtime.cells.formats.opening import Opening
from c2t.runtime.cells.formats.place import find_form
from c2t.runtime.system.errors import CellFileError


def source_files(path: Path) -> list[Path]:
    """The files that the cells of a path are read from, sorted by their names.

    Args:
        path: A file, or a folder. A file of another kind is its own only file.

    Raises:
        OSError: It is not there.
        CellFileError: A folder holds too many files.
    """
    if path.is_dir():
        if find_form(path) is Form.zarr:
            return [path / name for name in FolderMembers(path).names()]
        return _of_matrix(path)
    if path.name.endswith((".mtx", ".mtx.gz")):
        return _of_matrix(path)
    return [path]


def _of_matrix(path: Path) -> list[Path]:
    members, given = open_mex_members(path)
    with closing(members):
        try:
            found = find_mex(members, given, Opening())
        except CellFileError:
            # Several matrices, of which an option takes one; or names that are missing. Whatever
            # else lies there is none of them: it may be the output.
            return [members.path / name for name in possible_files(members, given)]
    names = (found.matrix, found.genes, found.cells)
    return sorted(members.path / name for name in names)
