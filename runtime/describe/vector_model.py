"""The part of an open model that writes no texts: vectors of cells, compared with texts."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import SEARCH
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.annotator import AnnotateOptions
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.embedder import EmbeddedCells, Embedder, EmbedOptions, joined_vectors
from c2t.runtime.describe.joint_annotator import DEFAULT_TEMPLATE, JointAnnotator
from c2t.runtime.describe.searcher import ScoredCells, Searcher, check_memory, joined_scores
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.joint.text_tower import TextTowerEngine
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock


class VectorModel:
    """A bundle and its opened encoder; see `c2t.runtime.describe.model.Model`."""

    def __init__(self, bundle: Bundle, options: DescribeOptions) -> None:
        self.bundle = bundle
        self.options = options
        self.clock = StageClock()
        self._lock = threading.RLock()
        self._embedders: dict[EmbedOptions, Embedder] = {}
        self._tower: TextTowerEngine | None = None
        self._closed = False

    def embed(
        self,
        cells: Any,
        options: EmbedOptions | None = None,
        *,
        reading: CellOptions | None = None,
    ) -> EmbeddedCells:
        """Vectors of cells: the encoder's, and those in the joint space where there is one.

        Args:
            cells: As for `describe`.
            options: How to embed them.
            reading: As for `describe`.

        Returns:
            The vectors of all cells, in their order; NaN for a cell with an error.

        Warns:
            UserWarning: What is doubtful about the cells.

        Raises:
            BundleError: The bundle has no encoder.
            CellFileError: The file as a whole cannot be read as counts over known genes.
            C2TError: So many cells that their vectors would fill the memory.
            EngineError: No engine runs here, or the model is closed.
        """
        embedder = self.embedder(options)
        with self._reader(cells, reading) as reader:
            numbers = embedder.size + (embedder.joint_size or 0)
            check_memory(reader.n_cells, numbers, what="vectors")
            return joined_vectors(embedder.embed(reader), embedder)

    def search(
        self,
        cells: Any,
        texts: Sequence[str],
        options: EmbedOptions | None = None,
        *,
        reading: CellOptions | None = None,
    ) -> ScoredCells:
        """Scores of texts for cells, in a joint space of cells and texts.

        Args:
            cells: As for `describe`.
            texts: Different texts.
            options: How to embed the cells.
            reading: As for `describe`.

        Returns:
            The scores of all cells, in their order; `best` says which are the highest.

        Warns:
            UserWarning: What is doubtful about the cells, and which texts were cut.

        Raises:
            BundleError: The bundle has no joint space.
            CellFileError: The file as a whole cannot be read as counts over known genes.
            C2TError: A text that cannot be compared, or too many cells for the memory.
            EngineError: No engine runs here, or the model is closed.
        """
        self.bundle.manifest.need_task(SEARCH)
        searcher = Searcher(self.bundle, texts, self.embedder(options), tower=self.text_tower)
        for cut in searcher.texts.warnings:
            warnings.warn(cut, stacklevel=2)
        with self._reader(cells, reading) as reader:
            check_memory(reader.n_cells, len(texts), what="scores")
            return joined_scores(searcher.search(reader), texts)

    def embedder(self, options: EmbedOptions | None = None) -> Embedder:
        """The embedder of these options, opened once; threads may share it.

        Raises:
            BundleError: The bundle has no encoder.
            EngineError: The encoder cannot be opened, or the model is closed.
        """
        options = options or EmbedOptions(threads=self.options.threads)
        with self._lock:
            self._check_open()
            if options not in self._embedders:
                self._embedders[options] = Embedder(self.bundle, options, clock=self.clock)
            return self._embedders[options]

    def joint_annotator(
        self,
        labels: Sequence[str],
        options: AnnotateOptions | None = None,
        label_template: str | None = None,
    ) -> JointAnnotator:
        """What compares labels in a joint space.

        Raises:
            BundleError: The bundle has no joint space.
            C2TError: See `JointAnnotator`.
            EngineError: No engine runs here, or the model is closed.
        """
        given = options or AnnotateOptions(threads=self.options.threads)
        own = EmbedOptions(
            threads=given.threads, batch_size=given.batch_size, prepack=given.prepack
        )
        return JointAnnotator(
            self.bundle,
            labels,
            self.embedder(own),
            template=DEFAULT_TEMPLATE if label_template is None else label_template,
            temperature=given.temperature,
            tower=self.text_tower,
        )

    @property
    def text_tower(self) -> TextTowerEngine:
        """The text tower of a joint space, opened once; threads may share it.

        Raises:
            BundleError: The bundle has none.
            EngineError: It cannot be opened, or the model is closed.
        """
        with self._lock:
            self._check_open()
            if self._tower is None:
                threads = EngineOptions(threads=self.options.threads)
                self._tower = TextTowerEngine(self.bundle, threads)
            return self._tower

    def _check_open(self) -> None:
        if self._closed:
            problem = f"the model of {self.bundle.path} is closed"
            raise EngineError(problem, hint="open it again with `c2t.open`")

    @contextmanager
    def _reader(
        self, cells: Any, reading: CellOptions | None, *, named: bool = False
    ) -> Iterator[CellReader]:
        if isinstance(cells, CellReader):  # the caller has seen its warnings
            yield cells
            return
        if reading is None:
            reading = CellOptions(filter_pass=isinstance(cells, (str, os.PathLike)))
        with open_cells(cells, self.bundle, reading, named=named) as reader:
            for warning in reader.warnings:
                # Levels: this function, contextlib, `describe`, the caller.
                warnings.warn(warning, stacklevel=4)
            yield reader
