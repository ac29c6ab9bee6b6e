"""Genes of cells by name, for prompts that are made later: of several cells, or with a question.

One decision: a cell's tokens are numbers of names, so that whatever carries a cell's tokens carries
these too. Names get their numbers as they come.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.inputs.gene_sentence import SentencePrompts


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedGenes(SentencePrompts):
    """What a cell becomes instead of a prompt. Threads may share it.

    Attributes:
        names: Of genes and species, by their numbers.
    """

    names: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tokens(self, symbols: Sequence[str], species: str) -> NDArray[np.int32]:
        """Numbers of the species and of the genes, [1 + genes] int32."""
        with self._lock:
            return np.array([self._number(name) for name in (species, *symbols)], dtype=np.int32)

    def read(self, tokens: NDArray[np.integer]) -> tuple[str, list[str]]:
        """Species and genes of a cell's tokens."""
        species, *symbols = (self.names[number] for number in tokens.tolist())
        return species, symbols

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
        return number
