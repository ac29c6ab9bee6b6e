"""A bundle that stays open: its engines are opened once, however often it describes.

Descriptions come in the order of the cells (`describe`), or each as soon as it is written, with a
key (`describe_keyed`). A service, whose cells come and go while others are written, takes
`c2t.runtime.describe.queue` on top.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.tasks import ANNOTATE, DESCRIBE, EXPLAIN
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.annotator import AnnotateOptions, Annotator
from c2t.runtime.describe.describer import DescribeOptions, Describer, engine_request
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.joint_annotator import JointAnnotator, template_refused
from c2t.runtime.describe.labelled_cell import LabelledCell, no_label_fits
from c2t.runtime.describe.several_texts import several_texts
from c2t.runtime.describe.vector_model import VectorModel
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.choose import ChosenEngines, choose_engines, suits
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.trust.variable import trusted_by_default

if TYPE_CHECKING:
    from c2t.runtime.describe.asker import Answer, Asker
    from c2t.runtime.describe.given_groups import Groups


class Model(VectorModel):
    """A bundle and its opened engines. Threads may share it; `with` closes it.

    Engines open when they are first needed, and once: descriptions with other options use the same
    ones, as long as those options do not ask for another engine or other threads.

    Args:
        options: How to describe where a call says nothing else.

    Attributes:
        clock: Times of the stages so far, of all descriptions together.
    """

    def __init__(self, bundle: Bundle, options: DescribeOptions | None = None) -> None:
        super().__init__(bundle, options or DescribeOptions())
        self._engines: list[tuple[str, EngineOptions, ChosenEngines]] = []
        self._describers: dict[DescribeOptions, Describer] = {}

    def __repr__(self) -> str:
        return f"Model({self.bundle!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from c2t.runtime.describe.notebook import model_html

        with self._lock:
            labels = [chosen.engines.label for _, _, chosen in self._engines]
            return model_html(self.bundle, list(dict.fromkeys(labels)), closed=self._closed)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(
        self,
        cells: Any,
        options: DescribeOptions | None = None,
        *,
        reading: CellOptions | None = None,
    ) -> Iterator[Description]:
        """Describe cells one after another, in their order.

        Args:
            cells: Path of cells (docs/how-to/formats.md), an `anndata.AnnData`, or an opened
                reader.
            options: How to describe; the model's own if None.
            reading: How to read the cells, and which; a reader has its own. None: of a file, the
                cells that `obs["filter_pass"]` does not leave out; of an AnnData object, all
                cells, so that the descriptions line up with its `obs`.

        Yields:
            One description a cell. A cell that cannot be described carries an `error` instead of
            a text; the others go on.

        Warns:
            UserWarning: What is doubtful about the cells, for instance how few genes are known.

        Raises:
            CellFileError: The file as a whole cannot be read as counts over known genes.
            EngineError: No engine runs here, or the model is closed.
        """
        self.bundle.manifest.need_task(DESCRIBE)
        with self._reader(cells, reading) as reader:
            yield from self.describer(options).describe(reader)

    def describe_keyed(
        self,
        cells: Any,
        options: DescribeOptions | None = None,
        *,
        reading: CellOptions | None = None,
    ) -> Iterator[tuple[int, Description]]:
        """Describe cells, each handed over as soon as it is written.

        Args:
            cells: As for `describe`.
            options: As for `describe`.
            reading: As for `describe`.

        Yields:
            Position of the cell in the file or object, and its description.
        """
        from c2t.runtime.describe.queue import DescribeQueue

        self.bundle.manifest.need_task(DESCRIBE)
        with (
            self._reader(cells, reading) as reader,
            DescribeQueue(self.describer(options)) as queue,
        ):
            yield from queue.describe(
                (int(row), chunk[place : place + 1])
                for chunk in reader.chunks()
                for place, row in enumerate(chunk.index)
            )

    def annotate(
        self,
        cells: Any,
        labels: Sequence[str],
        options: AnnotateOptions | None = None,
        *,
        reading: CellOptions | None = None,
        label_template: str | None = None,
    ) -> Iterator[LabelledCell]:
        """Compare given labels for cells, in the order of the cells.

        Args:
            cells: As for `describe`.
            labels: Different labels, in the words that captions use.
            options: How to compare them; None: with the model's own engine and threads.
            reading: As for `describe`.
            label_template: Of a bundle with a joint space: a sentence with {label} in it.

        Yields:
            One result a cell: the most probable label, the probability of each among all, and
            the mass that the model gives to all of them. A cell that cannot be annotated carries
            an `error`; the others go on.

        Warns:
            UserWarning: What is doubtful about the cells, or about the labels; when all cells are
                done, in how many of them no label fits.

        Raises:
            C2TError: A label that is empty, there twice, or that the tokenizer cannot write.
            CellFileError: The file as a whole cannot be read as counts over known genes.
            EngineError: No engine runs here, or the model is closed.
        """
        annotator = self.annotator(labels, options, label_template=label_template)
        for doubt in annotator.doubts:
            warnings.warn(doubt, stacklevel=2)
        masses: list[float | None] = []
        with self._reader(cells, reading) as reader:
            for cell in annotator.annotate(reader):
                masses.append(cell.mass)
                yield cell
        for unfit in no_label_fits(masses):
            warnings.warn(unfit, stacklevel=2)

    def ask(
        self,
        cells: Any,
        question: str | None = None,
        options: DescribeOptions | None = None,
        *,
        groups: Mapping[str, Sequence[int]] | None = None,
        labels: Sequence[str] = (),
        reading: CellOptions | None = None,
    ) -> Iterator[Answer]:
        """Ask a question about each cell, or about each group of cells.

        Args:
            cells: As for `describe`; no opened reader.
            question: What to ask; None: what the bundle itself asks, where it says so.
            options: How answers are written; the model's own if None.
            groups: The places of each group's cells among the cells that are read, by its name, as
                `adata.obs.groupby("leiden").indices` gives them. None: each cell is asked about.
            labels: What the answer may be chosen from, where the bundle's prompt lists them.
            reading: As for `describe`.

        Returns:
            One answer a cell or group, in their order, each written when it is asked for. One that
            cannot be asked about carries an `error`; the others go on.

        Warns:
            UserWarning: What is doubtful about the cells.

        Raises:
            BundleError: The bundle cannot answer questions.
            C2TError: At once, a question that cannot be asked, groups that its prompt has no place
                for, or whose places are no numbers; with the first answer, places that no cell has.
            CellFileError: The file as a whole cannot be read as counts over known genes.
            EngineError: No engine runs here, or the model is closed.
        """
        from c2t.runtime.describe.asker import Asker, check_grouping
        from c2t.runtime.describe.given_groups import given_groups
        from c2t.runtime.describe.question import own_question

        asked = own_question(self.bundle, question, several_texts(labels, "label"))
        asked.check(self.bundle)
        check_grouping(self.bundle, grouped=groups is not None)
        ordered = None if groups is None else given_groups(groups)
        asker = Asker(self.describer(options), self.bundle, asked)
        return self._answers(asker, cells, ordered, reading)

    def _answers(
        self, asker: Asker, cells: Any, groups: Groups | None, reading: CellOptions | None
    ) -> Iterator[Answer]:
        from c2t.runtime.describe.given_groups import check_places

        with self._reader(cells, reading, named=True) as reader:
            if groups is None:
                yield from asker.ask(reader)
            else:
                check_places(groups, reader.n_cells)
                yield from asker.ask_groups(reader, groups)

    def annotator(
        self,
        labels: Sequence[str],
        options: AnnotateOptions | None = None,
        *,
        label_template: str | None = None,
    ) -> Annotator | JointAnnotator:
        """An annotator of some labels, over engines that are opened once; threads may share it.

        It compares by the decoder, or in the joint space of a bundle without one.

        Raises:
            C2TError: See `annotate`; or a template where the decoder reads the labels.
            EngineError: No engine runs here, or the model is closed.
        """
        self.bundle.manifest.need_task(ANNOTATE)
        if not self.bundle.manifest.has_decoder:
            return self.joint_annotator(labels, options, label_template)
        if label_template is not None:
            raise template_refused()
        if options is None:
            mine = self.options
            options = AnnotateOptions(
                threads=mine.threads, prepack=mine.prepack, engine=mine.engine
            )
        describer = self.describer(options.describing())
        return Annotator(describer, self.bundle, labels, options=options)

    def explain(
        self,
        cells: Any,
        options: ExplainOptions | None = None,
        *,
        describing: DescribeOptions | None = None,
        reading: CellOptions | None = None,
    ) -> Iterator[CellEvidence]:
        """Find the genes that the texts of cells rest on, in the order of the cells.

        Args:
            cells: As for `describe`.
            options: Which words, and how many runs a cell may take.
            describing: How the texts are written; as the model does by default.
            reading: As for `describe`.

        Yields:
            One a cell; see `c2t.runtime.explain.evidence`. A cell that has nothing to explain
            carries an `error`; the others go on.

        Warns:
            UserWarning: What is doubtful about the cells, or about the label.

        Raises:
            CellFileError: The file as a whole cannot be read as counts over known genes.
            C2TError: The bundle's texts have no such field, or it cannot write the label.
            EngineError: No engine runs here, or the model is closed.
        """
        from c2t.runtime.describe.explainer import EXPLAIN_CHUNK, Explainer
        from c2t.runtime.explain.gene_names import GeneNames

        self.bundle.manifest.need_task(EXPLAIN)
        with self._reader(cells, reading) as reader:
            names = GeneNames(self.bundle.genes, reader)
            explainer = Explainer(self.bundle, self.describer(describing), options, names=names)
            for doubt in explainer.doubts:
                warnings.warn(doubt, stacklevel=2)
            yield from explainer.explain(reader.chunks(chunk_cells=EXPLAIN_CHUNK))

    def describer(self, options: DescribeOptions | None = None) -> Describer:
        """The describer of these options; made once, over engines that are opened once.

        Raises:
            EngineError: No engine runs here, or the model is closed.
        """
        options = options or self.options
        with self._lock:
            self._check_open()
            if options not in self._describers:
                chosen = self._chosen(options)
                self._describers[options] = Describer(
                    self.bundle, options, chosen=chosen, clock=self.clock
                )
            return self._describers[options]

    @property
    def engine_label(self) -> str:
        """What runs the graphs: what writes texts, or else the encoder.

        Raises:
            EngineError: No engine runs here, or the model is closed.
        """
        if self.bundle.manifest.has_decoder:
            return self.describer().engines.label
        return self.embedder().engine

    def forget(self, options: DescribeOptions) -> None:
        """Free the workers of some options, with their caches; engines stay open.

        A description that is still being read goes on.
        """
        with self._lock:
            self._describers.pop(options, None)

    def close(self) -> None:
        """Give back all memory and the GPU.

        A description that is still being read goes on, and keeps its engines until it ends.
        """
        with self._lock:
            self._closed = True
            with ExitStack() as devices:  # no other thread may use them while they are freed
                for _, _, chosen in self._engines:
                    devices.enter_context(chosen.engines.exclusive())
                self._describers.clear()
                self._embedders.clear()
                self._tower = None
                self._engines.clear()
                self.bundle.forget()
                gc.collect()  # engines hold each other in circles

    def _chosen(self, options: DescribeOptions) -> ChosenEngines:
        """Engines that were opened before and suit these options, else new ones.

        Those that were opened before come with buffers of their own: another thread may be
        describing with them.
        """
        wanted = engine_request(self.bundle, options)
        for name, request, chosen in self._engines:
            if name == options.engine and suits(request, wanted, chosen):
                with chosen.engines.exclusive():
                    return replace(chosen, engines=chosen.engines.clone())
        chosen = choose_engines(self.bundle, options.engine, wanted, self.clock)
        self._engines.append((options.engine, wanted, chosen))
        return chosen


def open_model(
    path: str | os.PathLike[str],
    options: DescribeOptions | None = None,
    *,
    verify: bool = True,
    trust: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Model:
    """Open a bundle to describe cells with; `c2t.open` is this function.

    Args:
        path: The bundle's folder.
        options: How to describe where a call says nothing else.
        verify: Compare the SHA-256 of every file with the manifest: of small files now, of large
            ones before they are first used. Presence, containment and sizes are always checked.
        trust: PEM file of a public key, with which all files must be signed; None: that of the
            environment variable `C2T_TRUST`, if it is set.
        progress: Called with the number of bytes hashed since its last call.

    Raises:
        BundleError: Not a bundle, a newer format, a missing, changed or escaping file. A large file
            that was changed is refused where it would be used first.
        TrustError: Not signed with the trusted key as it is, or no key to trust.
    """
    trust = trusted_by_default() if trust is None else trust
    bundle = open_bundle(path, verify=False, trust=trust)
    if verify:
        bundle.check_on_use(None if progress is None else lambda _total: nullcontext(progress))
    return Model(bundle, options)
