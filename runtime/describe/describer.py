"""Cells in, descriptions out, in the order of the cells.

One decision: a large model runs in one worker, whose engine uses all threads. The steps of a small
model are too short to be divided, so it runs in many workers of one thread each. Workers share only
the weights, so a cell's text does not depend on its worker.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from c2t.kernels.cuda.memory import DeviceMemoryError
from c2t.kernels.native import core_count
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.bundle.tasks import EMBED
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.read_ahead import read_ahead
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.cell_vectors import TokenLimits, token_limits
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.group_mean import GroupMean
from c2t.runtime.describe.profile import Profile, profile
from c2t.runtime.describe.prompted_inbox import WINDOW_BATCHES
from c2t.runtime.describe.text_settings import CHOSEN, chosen_settings
from c2t.runtime.describe.unsure import unsure_mark
from c2t.runtime.describe.worker import Worker, cache_capacity
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.choose import ChosenEngines, check_engine_name, choose_engines
from c2t.runtime.engines.table import EngineName
from c2t.runtime.fields.open import open_fields
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.phrase_table import PHRASES_NAME, load_phrase_table
from c2t.runtime.system.errors import C2TError, EngineError
from c2t.runtime.system.machine import look_at_machine
from c2t.runtime.system.text_tables import gigabytes
from c2t.runtime.system.timing import StageClock

# A decoder with less data than this takes well under a millisecond a step on one core.
SMALL_BYTES = 64 << 20
ROWS_MAX = 1 << 16  # cells that are written at the same time


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """How cells are described; None takes the bundle's own setting.

    Args:
        max_new_tokens: Longest text, in text tokens.
        num_beams: 1 is greedy search.
        no_repeat_ngram_size: 0 bans nothing.
        repetition_penalty: From 1/1024 to 1024; 1 changes nothing.
        stop_strings: A text ends with the token that completes one of them; (): none, not even the
            bundle's own.
        temperature: 0 writes the most probable tokens; above 0 they are drawn.
        top_k: Draw from so many tokens only; 0: all.
        top_p: Draw from those tokens only that together have so much of the probability.
        seed: The same seed draws the same texts, whatever else is described beside them.
        threads: Threads to use; None: all cores. A large model uses all of them in each step. A
            small one describes cells in each of them.
        batch_size: Cells that are written at the same time (greedy search), and the most cells of
            equal length that the encoder takes at once.
        drafts: Verify drafts from the bundle's phrase table, if it has one: the same text in fewer
            steps. Greedy search only.
        prepack: See `c2t.runtime.engine_protocol.EngineOptions`.
        engine: One of `EngineName`; "auto" takes the best that works.
        embedding: Whether descriptions have the cell's embedding
            (`c2t.runtime.describe.embedding`). A queue asks cell by cell instead.
        unsure_below: See `c2t.runtime.describe.unsure.unsure_mark`.
    """

    max_new_tokens: int | None = None
    num_beams: int | None = None
    no_repeat_ngram_size: int | None = None
    repetition_penalty: float | None = None
    stop_strings: tuple[str, ...] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    threads: int | None = None
    batch_size: int = 8
    drafts: bool = True
    prepack: bool | None = None
    engine: str = EngineName.auto
    embedding: bool = False
    unsure_below: float | str | None = None


class Describer:
    """Describes cells with a bundle's engines, which it keeps open, and fixed settings.

    Threads may share it: each run borrows workers of its own.

    Args:
        options: How to describe.
        chosen: Engines that were opened for `engine_request`; None: open them.
        clock: Records the stages. Opened engines need the clock that they were opened with.
        least_batch_size: Where a GPU's memory has no room for the texts of `batch_size` cells,
            write those of fewer at the same time, but not of fewer than this; None: that is an
            error.

    Attributes:
        options: How cells are described, with the `batch_size` that there was room for.
        generation: The settings in force.
        engines: The engines of the first worker.
        reason: One sentence on why these were chosen.
        clock: Times of the stages so far, of all workers together.
        fields: Reads the fields of texts, by the bundle's rules.
        group_mean: Makes the cell vectors of groups.
        most_workers: How many workers one run keeps busy.

    Raises:
        C2TError: A setting that is too small.
        EngineError: No engine, or settings that the decoder cannot hold.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: DescribeOptions | None = None,
        *,
        chosen: ChosenEngines | None = None,
        clock: StageClock | None = None,
        least_batch_size: int | None = None,
    ) -> None:
        self.options = options or DescribeOptions()
        check_sizes(bundle, self.options)
        self.generation = generation_settings(bundle.manifest.generation, self.options)
        self.clock = clock or StageClock()
        since = time.perf_counter()
        self._bundle = bundle
        self._mark = unsure_mark(bundle, self.options.unsure_below)
        request = engine_request(bundle, self.options)
        chosen = chosen or choose_engines(bundle, self.options.engine, request, self.clock)
        self.engines, self.reason = chosen.engines, chosen.reason
        # One worker keeps a GPU busy.
        self._on_gpu = chosen.on_gpu
        self.most_workers = 1 if chosen.on_gpu else _most_workers(bundle, self.options)
        self._drafter = self._load_drafter()
        self.fields = open_fields(bundle)
        self.group_mean = GroupMean(bundle)
        self._lock = threading.Lock()
        wanted = self.options.batch_size
        self._idle = [self._first_worker(least_batch_size or wanted)]
        if (size := self.options.batch_size) < wanted:
            self.reason += f"; {size} cells at a time, as its memory has no room for {wanted}"
        self.clock.add("open", since)

    def describe(
        self, cells: CellReader | Iterable[EncodedCells], *, going_on: bool = False
    ) -> Iterator[Description]:
        """Describe cells with one or several workers, in the order of the cells.

        Args:
            cells: A cell reader, or chunks of encoded cells.
            going_on: An earlier run described the cells before these. So the engine works, and
                it is no error if it fails for all the cells that are left.

        Yields:
            One description a cell. A cell that cannot be described has an `error`, and does not
            stop the others.

        Raises:
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for the first few cells, or for every cell that it gets.
        """
        chunks = cells.chunks() if isinstance(cells, CellReader) else cells
        self.clock.mark("begin")
        timed = self.clock.iterate("read", chunks)
        if self._on_gpu:  # the processor is idle meanwhile
            timed = read_ahead(timed)
        described = self._by_one(timed) if self.most_workers == 1 else self._by_several(timed)
        return described if going_on else _unless_all_fail(described)

    @property
    def limits(self) -> TokenLimits:
        """What a cell's tokens must be."""
        return token_limits(self._bundle.manifest)

    def write(self, vectors: Float32, *, name: str = "") -> str | None:
        """The text of cell vectors [K, D], which need not be one cell's; None if none is written.

        Args:
            vectors: The vectors.
            name: Of the text, where it is drawn.

        Raises:
            EngineError: The engine fails, and has never worked.
        """
        with self.worker() as worker:
            return worker.write(vectors, name=name)

    def profile(self) -> Profile:
        """What the work so far cost, stage by stage; the times of workers add up."""
        return profile(self.clock)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Borrow a worker: one that is idle, else a new one over the same weights."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker or self._new_worker(clone=True)
        try:
            yield worker
        finally:
            with self._lock:
                self._idle.append(worker)

    def _by_one(self, chunks: Iterable[EncodedCells]) -> Iterator[Description]:
        with self.worker() as worker:
            yield from worker.describe(chunks)

    def _by_several(self, chunks: Iterable[EncodedCells]) -> Iterator[Description]:
        """Give pieces of work to workers, only as many at a time as keep them busy."""

        def work(piece: EncodedCells) -> list[Description]:
            with self.worker() as worker:
                return list(worker.describe([piece]))

        waiting: deque[Future[list[Description]]] = deque()
        pool = ThreadPoolExecutor(self.most_workers, thread_name_prefix="c2t-worker")
        delivering = False

        def deliver() -> Iterator[Description]:
            nonlocal delivering
            descriptions = waiting[0].result()
            delivering = True
            waiting.popleft()
            yield from descriptions
            delivering = False

        try:
            for piece in _pieces(chunks, WINDOW_BATCHES * self.options.batch_size):
                waiting.append(pool.submit(work, piece))
                while len(waiting) > self.most_workers or (waiting and waiting[0].done()):
                    yield from deliver()
            while waiting:
                yield from deliver()
        except (KeyboardInterrupt, SystemExit):
            # The pool ends only after the pieces that run, so their texts are kept. But if a piece
            # was being delivered, nobody knows which of its cells arrived last. Cells after it
            # would leave a gap in the order.
            pool.shutdown(wait=True, cancel_futures=True)
            if not delivering:
                yield from _finished(waiting)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _first_worker(self, least: int) -> Worker:
        """A worker for as many cells at the same time as there is room for, if for `least`."""
        while True:
            size = self.options.batch_size
            try:
                return self._new_worker()
            except EngineError as error:
                if size <= least or not isinstance(error.__cause__, DeviceMemoryError):
                    raise
            # Not in the handler: the error holds what was allocated before.
            self.options = replace(self.options, batch_size=max(least, size // 2))

    def _new_worker(self, *, clone: bool = False) -> Worker:
        with self.engines.exclusive():  # the prompt's prefix is run
            return Worker(
                self._bundle,
                self.engines.clone() if clone else self.engines,
                self.generation,
                batch_size=self.options.batch_size,
                drafter=self._drafter.clone() if self._drafter else None,
                fields=self.fields,
                clock=self.clock,
                embeds=self.options.embedding,
                mark=self._mark,
            )

    def _load_drafter(self) -> Drafter | None:
        """A drafter over the bundle's phrase table; None without one, or where it is of no use."""
        manifest = self._bundle.manifest
        wanted = self.options.drafts and self.generation.num_beams == 1
        if not wanted or PHRASES_NAME not in manifest.files:
            return None
        path = self._bundle.file(PHRASES_NAME)
        table = load_phrase_table(path, manifest.decoder.vocabulary_size)
        return Drafter(table) if table.states > 1 else None


def check_options(bundle: Bundle, options: DescribeOptions) -> None:
    """Refuse settings that this bundle cannot describe with, before anything large is opened.

    Raises:
        C2TError: A number that is too small, or a threshold that the bundle does not state.
        EngineError: The engine does not work here; or see `check_sizes`.
    """
    check_engine_name(options.engine)
    unsure_mark(bundle, options.unsure_below)
    check_sizes(bundle, options)


def check_sizes(bundle: Bundle, options: DescribeOptions) -> None:
    """Refuse texts that are too long for the bundle, or too many for this machine.

    Raises:
        C2TError: A number that is too small or too large.
        TaskError: Embeddings are asked for, and the bundle has no encoder.
        EngineError: A text is longer than the decoder has positions for, or the texts written at
            the same time need more memory than there is.
    """
    manifest = bundle.manifest
    if options.embedding:
        manifest.need_task(EMBED)
    generation = generation_settings(manifest.generation, options)
    capacity, rows = cache_capacity(manifest, generation), max_rows(generation, options)
    copies = 2 if generation.num_beams > 1 else 1  # beams that go on are copied to their places
    need = rows * (
        copies * manifest.decoder.cache_bytes(capacity) + 4 * manifest.decoder.vocabulary_size
    )
    machine = look_at_machine()
    memory = max(machine.memory_bytes, *(gpu.memory_bytes for gpu in machine.gpus), 0)
    if need > memory > 0:
        problem = (
            f"{rows:,} texts of {generation.max_new_tokens:,} tokens at the same time need "
            f"{gigabytes(need)} of memory; this machine has {gigabytes(memory)}"
        )
        raise EngineError(problem, hint="lower --batch-size, --num-beams or --max-new-tokens")


def max_rows(generation: Generation, options: DescribeOptions) -> int:
    """Batch rows that one worker writes at the same time."""
    return generation.num_beams if generation.num_beams > 1 else options.batch_size


def engine_request(bundle: Bundle, options: DescribeOptions) -> EngineOptions:
    """What engines are asked for, so that they can describe with these options.

    Raises:
        EngineError: More new tokens than the decoder has positions.
    """
    generation = generation_settings(bundle.manifest.generation, options)
    return EngineOptions(
        threads=1 if _most_workers(bundle, options) > 1 else options.threads,
        prepack=options.prepack,
        rows=max(options.batch_size, generation.num_beams),
        capacity=cache_capacity(bundle.manifest, generation),
    )


def generation_settings(defaults: Generation, options: DescribeOptions) -> Generation:
    """The bundle's settings with the caller's in their place.

    Raises:
        C2TError: See `c2t.runtime.describe.text_settings.chosen_settings`; a `batch_size` that is
            too small or too large.
    """
    generation = chosen_settings(defaults, {name: getattr(options, name) for name in CHOSEN})
    if not 1 <= options.batch_size <= ROWS_MAX:
        problem = f"batch_size is {options.batch_size:,}"
        raise C2TError(problem, hint=f"give a number from 1 to {ROWS_MAX:,}")
    return generation


def _most_workers(bundle: Bundle, options: DescribeOptions) -> int:
    """How many workers to run on the CPU."""
    if bundle.manifest.files["decoder.onnx.data"].bytes >= SMALL_BYTES:
        return 1
    if options.threads is not None:
        return options.threads
    return core_count()


def _pieces(chunks: Iterable[EncodedCells], size: int) -> Iterator[EncodedCells]:
    """Chunks in pieces of at most `size` cells."""
    for chunk in chunks:
        for first in range(0, len(chunk), size):
            yield chunk[first : first + size]


def _unless_all_fail(described: Iterator[Description]) -> Iterator[Description]:
    """Hold back the cells that the engine failed for until it has worked for one.

    Raises:
        EngineError: It worked for none. None of the held cells is passed on then: another run may
            describe them.
    """
    held: list[Description] = []
    for description in described:
        if description.engine_failed or held:
            held.append(description)
        if description.text is not None:
            yield from held or [description]
            yield from described
            return
        if not held:
            yield description
    if held:
        problem = f"no cell could be described: {held[0].error}"
        raise EngineError(problem, hint="run `c2t doctor`")


def _finished(waiting: Iterable[Future[list[Description]]]) -> Iterator[Description]:
    """The descriptions of pieces up to the first that was never begun or failed."""
    for future in waiting:
        if future.cancelled() or future.exception() is not None:
            return
        yield from future.result()
