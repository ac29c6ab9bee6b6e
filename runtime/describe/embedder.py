"""Cells in, vectors out, in the order of the cells: the encoder's, and those of a joint space.

One decision: as for describing, a large encoder runs in one thread that uses all cores, a small one
in many of one core each. Each cell goes through the encoder with others of its length.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.native import core_count
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.joint_space import JOINT
from c2t.runtime.bundle.tasks import EMBED
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.cell_vectors import check_tokens, equal_lengths, token_limits
from c2t.runtime.describe.embedding import embedding_of
from c2t.runtime.describe.prompted_inbox import WINDOW_BATCHES
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.engines.cpu.open import open_encoder
from c2t.runtime.system.errors import C2TError, EngineError
from c2t.runtime.system.timing import StageClock

# An encoder with less data than this takes a few milliseconds a cell on one core.
SMALL_BYTES = 16 << 20
BATCH_MAX = 1 << 16
NOT_FINITE = "the encoder gave numbers that are not finite"


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """How cells are embedded.

    Args:
        threads: Threads to use; None: all cores.
        batch_size: Most cells of equal length that the encoder takes at once.
        prepack: See `c2t.runtime.engine_protocol.EngineOptions`.
    """

    threads: int | None = None
    batch_size: int = 8
    prepack: bool | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedCells:
    """B cells in their order.

    Attributes:
        ids: Their names.
        index: [B] int64, position of each in its file.
        embedding: [B, H] float32, the encoder's (`c2t.runtime.describe.embedding`); NaN for a cell
            with an error.
        joint: [B, J] float32 of length 1, in the joint space; NaN likewise. None without a space.
        genes_used: [B] int64, gene tokens of each without special tokens.
        errors: Why a cell has no vector; None where it has.
        engine_failed: How many of the errors are the engine's.
    """

    ids: Sequence[str]
    index: NDArray[np.int64]
    embedding: Float32
    joint: Float32 | None
    genes_used: NDArray[np.int64]
    errors: Sequence[str | None]
    engine_failed: int = 0

    def __len__(self) -> int:
        return len(self.ids)


class Embedder:
    """Embeds cells with a bundle's encoder, on the CPU; threads may share it.

    Args:
        bundle: A bundle with an encoder.
        options: How.
        clock: Records the stages of the encoder.

    Attributes:
        engine: What reports call the engine.
        size: H.
        joint_size: J; None without a joint space.

    Raises:
        BundleError: The bundle cannot embed.
        C2TError: A setting that is too small.
        EngineError: A graph cannot be opened.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: EmbedOptions | None = None,
        *,
        clock: StageClock | None = None,
    ) -> None:
        bundle.manifest.need_task(EMBED)
        self.options = options or EmbedOptions()
        size = self.options.batch_size
        if not 1 <= size <= BATCH_MAX:
            problem = f"batch_size is {size}"
            raise C2TError(problem, hint=f"give a number from 1 to {BATCH_MAX}")
        manifest = bundle.manifest
        self._spec = manifest.gene_input
        self._limits = token_limits(manifest)
        self.size = self._spec.hidden_size
        # The projector of another kind leads to a decoder, also where there is a space besides.
        self.joint_size = manifest.space.size if manifest.projector.kind == JOINT else None
        small = bundle.manifest.files["encoder.onnx.data"].bytes < SMALL_BYTES
        self._workers = (self.options.threads or core_count()) if small else 1
        request = EngineOptions(
            threads=1 if self._workers > 1 else self.options.threads, prepack=self.options.prepack
        )
        self._first, self.engine = open_encoder(bundle, request, clock)
        self._idle: queue.SimpleQueue[OnnxRuntimeEncoder] = queue.SimpleQueue()
        self._idle.put(self._first)

    def embed(self, cells: CellReader | Iterable[EncodedCells]) -> Iterator[EmbeddedCells]:
        """Embed cells, in their order.

        Args:
            cells: A cell reader, or chunks of encoded cells.

        Yields:
            Some cells at a time. A cell that cannot be embedded has an error, and does not stop
            the others.

        Raises:
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for every cell of the first batches.
        """
        chunks = cells.chunks() if isinstance(cells, CellReader) else cells
        size = WINDOW_BATCHES * self.options.batch_size
        pieces = (
            chunk[first : first + size] for chunk in chunks for first in range(0, len(chunk), size)
        )
        worked = False
        for piece in self._in_order(pieces):
            worked = worked or piece.engine_failed < len(piece)
            if not worked and len(piece):
                problem = f"no cell could be embedded: {piece.errors[0]}"
                raise EngineError(problem, hint="run `c2t doctor`")
            yield piece

    def _in_order(self, pieces: Iterable[EncodedCells]) -> Iterator[EmbeddedCells]:
        """The results of pieces, worked on by several threads."""
        if self._workers == 1:
            yield from map(self._embed, pieces)
            return
        waiting: deque[Future[EmbeddedCells]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="c2t-embed")
        try:
            for piece in pieces:
                waiting.append(pool.submit(self._embed, piece))
                while len(waiting) > self._workers or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _embed(self, cells: EncodedCells) -> EmbeddedCells:
        try:
            encoder = self._idle.get_nowait()
        except queue.Empty:
            encoder = self._first.clone()
        try:
            return self._embed_with(encoder, cells)
        finally:
            self._idle.put(encoder)

    def _embed_with(self, encoder: OnnxRuntimeEncoder, cells: EncodedCells) -> EmbeddedCells:
        count = len(cells)
        own = np.full((count, self.size), np.nan, dtype=np.float32)
        joint = None
        if self.joint_size is not None:
            joint = np.full((count, self.joint_size), np.nan, dtype=np.float32)
        errors: list[str | None] = [
            error or check_tokens(tokens, self._limits)
            for tokens, error in zip(cells.tokens, cells.errors, strict=True)
        ]
        good = [place for place, error in enumerate(errors) if error is None]
        failed: dict[int, str] = {}
        groups = equal_lengths([cells.tokens[place] for place in good], self.options.batch_size)
        for group in groups:
            self._run(encoder, cells, [good[n] for n in group], own, joint, failed)
        for place, error in failed.items():
            errors[place] = error
        return EmbeddedCells(
            ids=cells.ids,
            index=cells.index,
            embedding=own,
            joint=joint,
            genes_used=cells.genes_used,
            errors=errors,
            engine_failed=len(failed),
        )

    def _run(
        self,
        encoder: OnnxRuntimeEncoder,
        cells: EncodedCells,
        group: list[int],
        own: Float32,
        joint: Float32 | None,
        failed: dict[int, str],
    ) -> None:
        """Run cells of equal length; if they fail, one by one."""
        tokens = np.stack([cells.tokens[place] for place in group]).astype(np.int32, copy=False)
        try:
            vectors, hidden = encoder.encode_with_hidden(tokens)
        except C2TError as error:
            if len(group) == 1:
                failed[group[0]] = error.problem
                return
            for place in group:
                self._run(encoder, cells, [place], own, joint, failed)
            return
        for number, place in enumerate(group):
            of_cell = embedding_of(cells.tokens[place], hidden[number], self._spec)
            of_space = vectors[number, 0]
            finite = np.isfinite(of_cell).all()
            if not finite or (joint is not None and not np.isfinite(of_space).all()):
                failed[place] = NOT_FINITE
                continue
            own[place] = of_cell
            if joint is not None:
                joint[place] = of_space


def joined_vectors(parts: Iterable[EmbeddedCells], embedder: Embedder) -> EmbeddedCells:
    """The vectors of some parts, one part after another, as one; of no part: no cells."""
    found = list(parts)
    joint = None
    if embedder.joint_size is not None:
        empty = np.zeros((0, embedder.joint_size), np.float32)
        joint = np.concatenate([empty, *(p.joint for p in found if p.joint is not None)])
    own = np.zeros((0, embedder.size), np.float32)
    none = np.zeros(0, np.int64)
    return EmbeddedCells(
        ids=[name for part in found for name in part.ids],
        index=np.concatenate([none, *(part.index for part in found)]),
        embedding=np.concatenate([own, *(part.embedding for part in found)]),
        joint=joint,
        genes_used=np.concatenate([none, *(part.genes_used for part in found)]),
        errors=[error for part in found for error in part.errors],
        engine_failed=sum(part.engine_failed for part in found),
    )
