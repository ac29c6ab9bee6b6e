"""Attributes of an HDF5 object, read only once their types are known to be harmless.

One changed byte can make a text a list of lists, which HDF5 follows into memory that is not its
own: the process dies. So the class of the type is looked at first. R writes single values as arrays
of length 1: they come unwrapped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2t.runtime.cells.formats.hdf5 import naming
from c2t.runtime.system.errors import CellFileError

# HDF5 itself keeps larger ones in a heap of their own; none that is read here comes near it.
ATTRIBUTE_BYTES = 1 << 20


def attribute(item: Any, name: str, key: str, *, empty: bool = False) -> Any:
    """An attribute; None if there is none.

    Args:
        item: The h5py object that has it.
        name: Its name.
        key: The object's place in the file, for messages.
        empty: Whether an array without values may be there; it counts as no attribute.

    Returns:
        Text as str, a number or reference as it is; of several values an array of them.

    Raises:
        CellFileError: It is damaged, or of a type that no reader of cells knows.
    """
    import h5py

    encoded = name.encode()
    with naming(f"{key} (attribute {name})"):
        if not h5py.h5a.exists(item.id, encoded):
            return None
        opened = h5py.h5a.open(item.id, encoded)
        kind = opened.get_type()
        known = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.STRING)
        is_known = kind.get_class() in known or kind.equal(h5py.h5t.STD_REF_OBJ)
        # An empty one has no shape.
        count = opened.get_space().get_simple_extent_npoints()
        if empty and not count:
            return None
        harmless = is_known and 0 < count <= ATTRIBUTE_BYTES // max(kind.get_size(), 1)
    if not harmless:
        problem = f"{key}: the attribute {name!r} has a type or a length that is not expected there"
        raise CellFileError(problem, hint="the file is damaged; write it again from its source")
    with naming(f"{key} (attribute {name})"):
        values = np.ravel(np.asarray(item.attrs[name], dtype=object))
    texts = [
        value.decode(errors="replace") if isinstance(value, bytes) else value for value in values
    ]
    if len(texts) == 1:
        return texts[0]
    return np.array(texts, dtype=object)
