"""Elements of an `.h5ad` file, written as anndata's specification of files says (encodings 0.2.0).

https://anndata.readthedocs.io/en/latest/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Categorical:
    """Values that are few different texts.

    Args:
        categories: The texts.
        codes: [rows] Place of each value in them; -1: missing.
    """

    categories: tuple[str, ...]
    codes: NDArray[np.int32]


def write_element(group: Any, name: str, value: Any) -> None:
    """Write an element in place of what has its name.

    Args:
        group: h5py group to write into.
        name: Of the element.
        value: A text, a number, an array of numbers or of texts (dtype object), a categorical, or
            those by name.

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
    elif isinstance(value, Categorical):
        kind = "categorical"
        made = group.create_group(name)
        write_element(made, "categories", np.array(value.categories, dtype=object))
        write_element(made, "codes", value.codes)
        made.attrs["ordered"] = False
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
