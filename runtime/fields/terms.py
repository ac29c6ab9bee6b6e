"""The table of names of a bundle: which ontology term a name means, `terms.npz`.

One decision: a name is kept as 8 bytes of its hash, in order. So all names of the Cell Ontology,
UBERON and MONDO take some 3 MB, open within milliseconds, and are found by bisection. Two names of
200,000 have the same hash once in a billion tables; the writer then leaves both out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.fields.names import plain_name
from c2t.runtime.fields.reader import UNKNOWN
from c2t.runtime.fields.rules import FIELD_NAMES
from c2t.runtime.system.checked_read import read_arrays
from c2t.runtime.system.errors import BundleError

TERMS_NAME = "terms.npz"
TERMS_BYTES_MAX = 256 << 20  # some 15 million names
NORMAL_ID = "PATO:0000461"  # of the disease "normal"
DIGITS = 7  # of an id: "CL:0000236"
PREFIX_MAX = 16  # characters
_HINT = "export the bundle again"
_ARRAYS = ("hash", "prefix", "number", "prefixes", "fields")
_TYPES = {"hash": "<u8", "prefix": "|u1", "number": "<u4"}


@dataclass(frozen=True, eq=False)
class TermTable:
    """Names and the ids of their terms; see `c2t.runtime.fields.reader.Terms`.

    Args:
        hash: [N] uint64, of field and name, increasing.
        prefix: [N] uint8, which of `prefixes` the id has.
        number: [N] uint32, the id's number.
        prefixes: Such as "CL".
        fields: The fields that are known: a name that is not here has no term. Of another field
            single names may be here, such as the disease "normal".
    """

    hash: NDArray[np.uint64]
    prefix: NDArray[np.uint8]
    number: NDArray[np.uint32]
    prefixes: tuple[str, ...]
    fields: frozenset[str]

    def __len__(self) -> int:
        return len(self.hash)

    def id_of(self, field: str, name: str) -> str | None:
        """The id of the term with this name; "unknown"; None where the field is not known."""
        place = self._place(field, name)
        if place is None:
            return UNKNOWN if field in self.fields else None
        return f"{self.prefixes[self.prefix[place]]}:{self.number[place]:0{DIGITS}d}"

    def knows(self, field: str, name: str) -> bool:
        """Whether a term of the field has this name."""
        return self._place(field, name) is not None

    def save(self, path: Path) -> None:
        """Write `terms.npz`."""
        np.savez_compressed(
            path,
            hash=self.hash,
            prefix=self.prefix,
            number=self.number,
            prefixes=np.array(self.prefixes, dtype=f"S{PREFIX_MAX}"),
            fields=np.array(sorted(self.fields), dtype=f"S{PREFIX_MAX}"),
        )

    def _place(self, field: str, name: str) -> int | None:
        wanted = np.uint64(name_hash(field, plain_name(name)))
        place = int(np.searchsorted(self.hash, wanted))
        return place if place < len(self.hash) and self.hash[place] == wanted else None


def name_hash(field: str, plain: str) -> int:
    """The hash of a name as it is compared, in a field."""
    digest = hashlib.blake2b(f"{field}\n{plain}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def split_id(term: str) -> tuple[str, int] | None:
    """Prefix and number of an id like "CL:0000236"; None for another form."""
    prefix, _, digits = term.partition(":")
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    if not (prefix.isascii() and prefix.isalpha() and len(prefix) <= PREFIX_MAX):
        return None
    return prefix, int(digits)


def make_table(
    ids: Mapping[tuple[str, str], str], *, fields: Iterable[str] | None = None
) -> TermTable:
    """The table of names as they are compared.

    Args:
        ids: Field and plain name -> id; `split_id` must know its form.
        fields: Those that are known as a whole; None: all that have names.
    """
    by_hash: dict[int, str] = {}
    twice: set[int] = set()
    for (field, plain), term in ids.items():
        key = name_hash(field, plain)
        if by_hash.setdefault(key, term) != term:
            twice.add(key)
    parts = {key: split_id(term) for key, term in by_hash.items() if key not in twice}
    known = {key: part for key, part in parts.items() if part is not None}
    order = sorted(known)
    prefixes = tuple(sorted({prefix for prefix, _ in known.values()}))
    return TermTable(
        hash=np.array(order, dtype=np.uint64),
        prefix=np.array([prefixes.index(known[key][0]) for key in order], dtype=np.uint8),
        number=np.array([known[key][1] for key in order], dtype=np.uint32),
        prefixes=prefixes,
        fields=frozenset((field for field, _ in ids) if fields is None else fields),
    )


def load_terms(path: Path) -> TermTable:
    """Read `terms.npz`.

    Raises:
        BundleError: It is no table of terms.
    """

    def fail(problem: str) -> NoReturn:
        message = f"{path} is not a table of terms: {problem}"
        raise BundleError(message, hint=_HINT)

    parts: dict[str, NDArray[Any]] = read_arrays(
        path,
        _ARRAYS,
        bytes_max=TERMS_BYTES_MAX,
        error=BundleError,
        hint=_HINT,
        what="a table of terms",
    )
    if any(parts[name].ndim != 1 for name in _ARRAYS):
        fail("an array has not one dimension")
    if any(parts[name].dtype.str != kind for name, kind in _TYPES.items()):
        fail("an array has another type")
    if len({len(parts[name]) for name in _TYPES}) != 1:
        fail("its arrays differ in length")
    texts = {}
    for name in ("prefixes", "fields"):
        if parts[name].dtype.kind != "S" or parts[name].dtype.itemsize > PREFIX_MAX:
            fail(f"{name} are no short texts")
        texts[name] = [value.decode("ascii", "replace") for value in parts[name].tolist()]
    if any(split_id(f"{prefix}:{0:0{DIGITS}d}") is None for prefix in texts["prefixes"]):
        fail("a prefix is not one of an ontology")
    if not set(texts["fields"]) <= set(FIELD_NAMES):
        fail("it names a field that captions do not have")
    if len(parts["prefix"]) and int(parts["prefix"].max()) >= len(texts["prefixes"]):
        fail("an id has no prefix")
    if len(parts["number"]) and int(parts["number"].max()) >= 10**DIGITS:
        fail("an id has too many digits")
    if np.any(parts["hash"][1:] <= parts["hash"][:-1]):
        fail("its names are not in order")
    return TermTable(
        hash=parts["hash"],
        prefix=parts["prefix"],
        number=parts["number"],
        prefixes=tuple(texts["prefixes"]),
        fields=frozenset(texts["fields"]),
    )
