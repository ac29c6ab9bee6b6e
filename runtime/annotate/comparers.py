"""What compares labels for cells: a decoder that reads them, or a joint space of cells and texts.

One decision: a bundle with a decoder compares by it, any other by its joint space; what belongs to
one of them alone is refused for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.annotator import AnnotateOptions, Annotator
from c2t.runtime.describe.describer import Describer, check_options
from c2t.runtime.describe.embedder import Embedder, EmbedOptions
from c2t.runtime.describe.joint_annotator import (
    DEFAULT_TEMPLATE,
    JointAnnotator,
    check_template,
    template_refused,
)
from c2t.runtime.describe.labelled_cell import LabelledCell
from c2t.runtime.engines.table import EngineName
from c2t.runtime.fields.open import open_fields
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.output.run_settings import reading_settings, run_settings
from c2t.runtime.system.errors import EngineError


@dataclass(frozen=True, kw_only=True)
class Comparer:
    """What compares labels.

    Attributes:
        annotate: Compares them for the cells of chunks, in their order.
        fields: Has the bundle's table of terms.
        doubts: What the user should know about the labels, a sentence each.
        reason: What compares, and why, in one sentence.
        engine: What reports call the engine.
    """

    annotate: Callable[[Iterable[EncodedCells]], Iterator[LabelledCell]]
    fields: FieldReader
    doubts: Sequence[str]
    reason: str
    engine: str


def check_comparing(bundle: Bundle, options: AnnotateOptions, template: str | None) -> None:
    """Refuse options that this bundle cannot compare labels with, before anything large is opened.

    Args:
        bundle: The bundle.
        options: How to compare.
        template: See `open_comparer`.

    Raises:
        C2TError: A number that is too small, or a template where there is a decoder.
        EngineError: The engine does not work here, or has no joint space.
    """
    if bundle.manifest.has_decoder:
        check_options(bundle, options.describing())
        if template is not None:
            raise template_refused()
        return
    if options.engine not in (EngineName.auto, EngineName.cpu):
        problem = f"a joint space is compared on the CPU, not by the engine {options.engine}"
        raise EngineError(problem, hint="leave --engine out")
    check_template(DEFAULT_TEMPLATE if template is None else template)


def open_comparer(
    bundle: Bundle, labels: Sequence[str], options: AnnotateOptions, template: str | None
) -> Comparer:
    """Open what compares labels.

    Args:
        bundle: The bundle.
        labels: Different labels.
        options: How to compare.
        template: A text with {label} in it, for a joint space; None: the label alone.

    Raises:
        BundleError: The captions do not name cell types where the labels would be read.
        C2TError: Labels or options that cannot be compared with.
        EngineError: No engine runs here.
    """
    if bundle.manifest.has_decoder:
        describer = Describer(bundle, options.describing())
        annotator = Annotator(describer, bundle, labels, options=options)
        return Comparer(
            annotate=annotator.annotate,
            fields=describer.fields,
            doubts=annotator.doubts,
            reason=describer.reason,
            engine=describer.engines.label,
        )
    wanted = DEFAULT_TEMPLATE if template is None else template
    embedder = Embedder(bundle, embedding_options(options))
    joint = JointAnnotator(
        bundle, labels, embedder, template=wanted, temperature=options.temperature
    )
    reason = f"labels are compared in the joint space, read as {wanted!r}"
    if template is None:
        reason += "; --label-template puts them into a sentence"
    return Comparer(
        annotate=joint.annotate,
        fields=open_fields(bundle),
        doubts=joint.doubts,
        reason=reason,
        engine=embedder.engine,
    )


def embedding_options(options: AnnotateOptions) -> EmbedOptions:
    """How to embed cells whose labels are compared so."""
    return EmbedOptions(
        threads=options.threads, batch_size=options.batch_size, prepack=options.prepack
    )


def comparing_settings(
    bundle: Bundle, options: AnnotateOptions, template: str | None, reader: CellReader
) -> dict[str, str]:
    """All that changes how labels compare, by name."""
    if bundle.manifest.has_decoder:
        return run_settings(bundle, options.describing(), reader)
    wanted = DEFAULT_TEMPLATE if template is None else template
    return {"label template": wanted, **reading_settings(reader)}
