"""Elements of an `.h5ad` file, written as anndata's specification of files says (encodings 0.2.0).

https://anndata.readthedocs.io/en/latest/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def write_element(group: Any, name: str, value: Any) -> None:
    """Write an element in place of what has its name.

    Args:
        group: h5py group to write into.
        name: Of the element.
        value: A text, a number, an array of numbers or of texts (dtype object), or those by name.

    Raises:
        TypeError: It is something else.
    """
    import h5py

    if name in group:
        del group[name]
    version = "0.2.0"
    if isinstance(value, Mapping):
        kind, version = "dict", "0.1.0"
        made = group.create_group(name)
        for inner, element in value.items():
            write_element(made, inner, element)
    elif isinstance(value, str):
        kind = "string"
        made = group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    elif isinstance(value, (bool, int, float, np.number, np.bool_)):
        kind = "numeric-scalar"
        made = group.create_dataset(name, data=value)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        kind = "string-array"
        made = group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        kind = "array"
        made = group.create_dataset(name, data=value)
    else:
        problem = f"{name}: no element of an .h5ad file for {type(value).__name__}"
        raise TypeError(problem)
    made.attrs["encoding-type"], made.attrs["encoding-version"] = kind, version
