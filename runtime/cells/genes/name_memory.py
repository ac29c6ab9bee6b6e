"""What names mean by themselves, remembered from request to request.

One decision: only names whose meaning no other name can change are remembered with it. All others
send the whole set of names to `match_genes`, which is the definition. A name that the bundle knows
as it is written is such a name; so is one that says nothing however it is unwrapped.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from itertools import islice
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.genes.feature_kinds import named_like_no_gene
from c2t.runtime.cells.genes.names import (
    MISSING,
    QUOTES,
    SPLICING,
    excel_dates,
    numbered_stem,
    read_names,
    shared_part,
    some_of,
)
from c2t.runtime.cells.genes.organism import (
    bundle_species,
    some_looked_at,
    written_as_of_another,
)
from c2t.runtime.cells.genes.species import Species, species_of_id, strip_genome

# Codes of names, besides the genes from 0 on.
NO_GENE = -2  # an antibody, a peak, a spike-in: a column that is dropped
_KNOWN_NO_GENE = -5  # the same, of a name that the bundle knows
_NUMBERED = -3  # unknown, unless the name before its number is there too
_ASK = -4  # depends on the other names, or is to be warned about
# A gene whose name is written as those of another species, as "hsa-mir-8072" is: `_WRITTEN` - gene.
_WRITTEN = -16
_ASK_BYTES = _ASK.to_bytes(4, sys.byteorder, signed=True)

# A host that sends all genes of a reference uses 60 thousand names. Longer ones are no genes.
NAMES_MAX, NAME_LENGTH_MAX = 1 << 17, 64


class NameMemory:
    """The meaning of names, for one bundle. Threads may share it; its size is bounded.

    Two generations: when the young one is full it becomes the old one, which is then forgotten.
    What is used in between moves to the young one, so that odd names cannot displace a panel.

    Args:
        vocabulary: The genes of the bundle.
        most: Names to remember at most.
    """

    def __init__(self, vocabulary: GeneVocabulary, most: int = NAMES_MAX) -> None:
        self.species: Species | None = bundle_species(vocabulary)
        self._vocabulary, self._half = vocabulary, most // 2
        # Four bytes a code: joining them takes a third of the time of making an array of numbers.
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Names remembered."""
        return len(self._young) + len(self._old)

    def look_up(self, names: Sequence[str]) -> NDArray[np.int32] | None:
        """The meaning of each name, if all names mean what they mean alone.

        Args:
            names: Different names of columns.

        Returns:
            [columns] int32: a gene from 0 on, `UNKNOWN`, or `NO_GENE`. None where the whole set of
            names must be looked at.
        """
        if len(names) > self._half:  # no panel
            return None
        try:
            found = itemgetter(*names)(self._young)
            codes = list(found) if len(names) > 1 else [found]
        except KeyError:  # not all are remembered
            codes = []
            for name in names:
                codes.append(self._code(name))
                if codes[-1] == _ASK_BYTES:
                    return None
        return self.together(names, np.frombuffer(b"".join(codes), np.int32).copy())

    def alone(self, names: Sequence[str]) -> NDArray[np.int32]:
        """What each name means by itself: [names] int32, for `together`."""
        return np.frombuffer(b"".join(map(self._code, names)), np.int32)

    def together(self, names: Sequence[str], code: NDArray[np.int32]) -> NDArray[np.int32] | None:
        """What `look_up` gives, of names whose own meaning is known.

        Args:
            names: Different names of columns.
            code: Of `alone`; it may be changed.
        """
        if len(names) > self._half:
            return None
        if not (code < 0).any():
            return code
        written = code <= _WRITTEN
        if written.any():
            known = (code >= 0) | (code == _KNOWN_NO_GENE) | written
            if not _mostly_ours(names, known, written):
                return None
            code[written] = _WRITTEN - code[written]
        dropped, numbered = code == _KNOWN_NO_GENE, code == _NUMBERED
        unknown = np.flatnonzero((code < 0) & ~dropped)
        if (code == _ASK).any() or _share_part(names, unknown) or _beside_stem(names, numbered):
            return None
        code[dropped], code[numbered] = NO_GENE, UNKNOWN
        return code

    def _code(self, name: str) -> bytes:
        """The code of a name; it is remembered among the young."""
        code = self._young.get(name)
        if code is not None:
            return code
        code = self._old.get(name)
        if code is None:
            code = self._meaning(name).to_bytes(4, sys.byteorder, signed=True)
        if len(name) <= NAME_LENGTH_MAX:
            with self._lock:
                if len(self._young) >= self._half:
                    self._old, self._young = self._young, {}
                self._young[name] = code
        return code

    def _meaning(self, name: str) -> int:
        """The code of a name: `_ASK` for all that is not plain."""
        species = species_of_id(name)
        if name in MISSING or name != name.strip() or excel_dates([name]):
            return _ASK
        if species is not None and species != self.species:
            return _ASK
        gene = int(self._vocabulary.lookup([name])[0])
        if gene != UNKNOWN:
            no_gene = named_like_no_gene(name, is_known=True)
            if written_as_of_another(name):
                return _ASK if no_gene else _WRITTEN - gene
            return _KNOWN_NO_GENE if no_gene else gene
        if name != name.strip(QUOTES) or name.endswith(SPLICING) or strip_genome(name):
            return _ASK
        alone = read_names([name], self._vocabulary, self.species)
        if alone.gene[0] != UNKNOWN or alone.foreign[0]:
            return _ASK
        stem = numbered_stem(name)
        numbered = stem is not None and self._vocabulary.lookup_one(stem) != UNKNOWN
        if named_like_no_gene(name, is_known=False):
            return _ASK if numbered else NO_GENE
        return _NUMBERED if numbered else UNKNOWN


def _mostly_ours(
    names: Sequence[str], known: NDArray[np.bool_], written: NDArray[np.bool_]
) -> bool:
    """Whether as many symbols are written as ours are, of those that `check_organism` looks at."""
    some = some_looked_at(np.flatnonzero(known).tolist())
    ours = (
        column
        for column in some
        if not written[column]
        and names[column][:3].upper() != "ENS"
        and names[column][:2].isalpha()
    )
    most = int(written[some].sum())
    return sum(1 for _ in islice(ours, most)) == most


def _share_part(names: Sequence[str], unknown: NDArray[np.int64]) -> bool:
    """Whether a beginning or an end would be taken from the unknown names, which most share."""
    if len(unknown) * 2 < len(names):
        return False
    some = [names[column] for column in some_of(unknown.tolist())]
    return any(shared_part(some, before=before) is not None for before in (True, False))


def _beside_stem(names: Sequence[str], numbered: NDArray[np.bool_]) -> bool:
    """Whether one of the names "CD3E-1" stands beside its "CD3E"."""
    if not numbered.any():
        return False
    every = set(names)
    return any(
        numbered_stem(names[column]) in every for column in np.flatnonzero(numbered).tolist()
    )
