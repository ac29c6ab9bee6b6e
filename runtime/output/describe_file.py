"""One file of cells through a bundle into files of descriptions: `c2t describe` as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Protocol

from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import DESCRIBE
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.describer import (
    DescribeOptions,
    Describer,
    check_options,
    generation_settings,
)
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.profile import profile_text
from c2t.runtime.describe.unsure import said_of_unsure, unsure_mark
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.audited import DescribeAudit
from c2t.runtime.output.cellxgene import (
    SchemaColumns,
    check_outputs,
    check_schema_columns,
    schema_columns,
)
from c2t.runtime.output.earlier import earlier_results
from c2t.runtime.output.formats import OBS_SUFFIX
from c2t.runtime.output.grouping import Grouping, GroupTexts, prepare_grouping
from c2t.runtime.output.groups_file import groups_path
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.obs import DESCRIPTION
from c2t.runtime.output.obs_extras import EMBEDDING, GROUP_COLUMNS, check_embedding_place
from c2t.runtime.output.parts.write import PARTS_SUFFIX, describe_to_parts, plan_folder
from c2t.runtime.output.run_settings import described_run
from c2t.runtime.output.write import (
    Run,
    Summary,
    describe_to_files,
    describe_to_stream,
    plan_outputs,
)
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import check_target
from c2t.runtime.system.progress import Advance, progress_bar

# Cells that are read and encoded at once: few enough that the first text appears soon.
CHUNK_CELLS = 256
HOLD_EMBEDDING = (".h5ad", ".parquet", PARTS_SUFFIX)


class Describing(Protocol):
    """What describes the cells of a file, once it is opened.

    Attributes:
        label: The engine.
        reason: One sentence on why it was chosen.
        hint: What would make it better; "" for nothing.
        describer: What describes here; None: the cells are described elsewhere.
    """

    label: str
    reason: str
    hint: str
    describer: Describer | None

    def describe(self, start: int) -> Iterator[Description]:
        """Describe the chosen cells from `start` on, in their order."""
        ...

    def profile(self) -> str:
        """Lines about where the time went."""
        ...


HashProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class DescribeFileOptions:
    """What to describe and where to write it.

    Args:
        cells: The file or folder of cells.
        output: The file to write, its suffix says the format, or a folder of parts (`.parts`).
            None: see `write_obs`.
        write_obs: Write a copy of `cells` with the descriptions. With neither this nor `output`,
            lines of JSON go to the stream.
        cellxgene: Copies of the cells also get the columns of CELLxGENE's schema.
        replace_columns: Where the cells have those columns already, replace them in the copy.
        force: Replace existing outputs.
        profile: Report where the time went.
        restart: Describe everything again, whatever an interrupted run left.
        reading: How to read the cells, and which.
        describing: How to describe them.
        least_batch_size: See `c2t.runtime.describe.describer.Describer`; only for this process.
        embedding: Write the cells' embeddings, where the format can hold them.
        groups: How to group the cells; None: not at all.
    """

    cells: Path
    output: Path | None = None
    write_obs: bool = False
    cellxgene: bool = False
    replace_columns: bool = False
    force: bool = False
    restart: bool = False
    profile: bool = False
    reading: CellOptions = field(default_factory=CellOptions)
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    least_batch_size: int | None = None
    embedding: bool = False
    groups: GroupOptions | None = None


OpenDescribing = Callable[
    [Bundle, DescribeFileOptions, CellReader], AbstractContextManager[Describing]
]


def _no_bar(total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda amount: None)


def check_paths(options: DescribeFileOptions) -> tuple[Path, ...]:
    """Refuse paths that would make the run fail. This needs no bundle, so it comes first.

    Returns:
        The files to write; see `c2t.runtime.output.write.plan_outputs`.

    Raises:
        CellFileError: The cells are not there, or no file.
        OutputError: An output that cannot or must not be written.
    """
    check_cells_path(options.cells)
    if options.cellxgene:
        outputs = [".h5ad"] if options.write_obs else []
        check_outputs([*outputs, *([options.output] if options.output else [])])
    _check_extras(options)
    targets = _check_outputs(options)
    if options.groups is not None and targets[0].suffix != PARTS_SUFFIX:
        table = groups_path(targets[0])
        check_not_cells(table, options.cells)
        check_target(table, force=options.force)
    return targets


def _check_extras(options: DescribeFileOptions) -> None:
    """Refuse groups and embeddings that have no place to go.

    Raises:
        OutputError: Lines that are printed have none; an embedding has none in texts and tables.
        C2TError: Numbers of the groups that mean nothing.
    """
    output, copies = options.output, options.write_obs
    if options.groups is not None:
        options.groups.check()
        if output is None and not copies:
            problem = (
                "groups have an answer when all cells are described, and lines are printed before"
            )
            raise OutputError(problem, hint="name a file with -o, or pass --write-obs")
    if options.embedding and not copies and (output is None or output.suffix not in HOLD_EMBEDDING):
        where = "printed lines hold" if output is None else f"{output} holds"
        problem = f"{where} no embedding"
        raise OutputError(problem, hint=f"write {', '.join(HOLD_EMBEDDING)}, or pass --write-obs")
    if options.embedding and (copies or (output is not None and output.suffix == OBS_SUFFIX)):
        check_embedding_place(options.cells)


def _check_outputs(options: DescribeFileOptions) -> tuple[Path, ...]:
    if options.output is not None and options.output.suffix == PARTS_SUFFIX:
        if options.write_obs:
            problem = f"{options.output} is a folder of parts, which goes with no copy of the cells"
            raise OutputError(problem, hint="leave --write-obs out, or name another output")
        return (plan_folder(options.cells, options.output, force=options.force),)
    return plan_outputs(
        options.cells, options.output, write_obs=options.write_obs, force=options.force
    )


def describe_file(
    bundle: Bundle,
    options: DescribeFileOptions,
    *,
    stream: IO[bytes],
    report: Callable[[str], None],
    hash_progress: HashProgress = _no_bar,
    audit: AuditTrail | None = None,
    audit_reason: str = "",
    elsewhere: OpenDescribing | None = None,
) -> Summary:
    """Describe the cells of a file.

    What can be wrong with the cells and the settings is found first. Then the large files of the
    bundle are hashed, which takes seconds a gigabyte, and only then the engines open.

    Args:
        bundle: The bundle, whose hashes need not be checked yet.
        options: What and where.
        stream: Takes the lines of JSON when there is no file to write.
        report: Told what was found out about the cells, a sentence at a time.
        hash_progress: Given the number of bytes to hash, shows progress.
        audit: Told what is done: see `c2t.runtime.output.audited`.
        audit_reason: Why settings are others than before.
        elsewhere: Opens what describes the cells; None: this process does.

    Raises:
        BundleError: A file of the bundle is not as it was written.
        C2TError: A setting that is too small.
        CellFileError: The file cannot be read as counts over known genes.
        AuditError: The audit trail takes no line.
        OutputError: A place that cannot be written, or a journal of another run.
        EngineError: No engine runs here.
        DescribeInterrupted: Ctrl-C; what was described is kept.
    """
    bundle.manifest.need_task(DESCRIBE)
    targets = check_paths(options)
    if options.embedding:
        options = replace(options, describing=replace(options.describing, embedding=True))
    if elsewhere is None:
        check_options(bundle, options.describing)
    else:
        generation_settings(bundle.manifest.generation, options.describing)
        unsure_mark(bundle, options.describing.unsure_below)
    schema = None
    if options.cellxgene:
        columns = schema_columns(bundle)
        labels = check_schema_columns(options.cells, columns, replace=options.replace_columns)
        schema = SchemaColumns(columns=columns, labels=labels)
    audited = DescribeAudit(audit, options.cells, reason=audit_reason, chunk_cells=CHUNK_CELLS)
    bundle.check_on_use(hash_progress)
    with open_cells(options.cells, bundle, options.reading) as reader:
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        for warning in (*reader.warnings, *_earlier(options, reader, targets)):
            report(f"warning: {warning}")
        generation = generation_settings(bundle.manifest.generation, options.describing)
        below = options.describing.unsure_below
        for sentence in said_of_unsure(unsure_mark(bundle, below), generation):
            report(sentence)
        grouping = None
        if options.groups is not None:
            grouping = prepare_grouping(options.groups, reader, bundle.manifest, report=report)
            report(grouping.sentence)
            for warning in grouping.warnings:
                report(f"warning: {warning}")
            options = _embedding_for(grouping, options)
        open_describing = elsewhere or _here
        with open_describing(bundle, options, reader) as describing:
            report(describing.reason)
            if describing.hint:
                report(f"hint: {describing.hint}")
            run = described_run(
                options.cells,
                reader,
                options.describing,
                bundle=bundle,
                engine=describing.label,
                embedding=options.embedding,
            )
            wants_texts = grouping is not None and grouping.options.text
            if wants_texts and not bundle.manifest.has_encoder:
                report("warning: groups have no text of their own: the bundle has no encoder")
            elif grouping is not None and wants_texts and describing.describer is not None:
                texts = GroupTexts(describing.describer, reader, report)
                grouping = replace(grouping, texts=texts)
            more = {} if grouping is None else grouping.settings
            more["embedding in the output"] = "yes" if options.embedding else "no"
            audited.start(run, bundle, describing.label, more=more)

            def check() -> None:
                bundle.check_unchanged()
                audited.check_cells()

            def advance(total: int, done: int) -> AbstractContextManager[Advance]:
                if done:
                    report(
                        f"going on after {done:,} of {total:,} cells that an earlier run described"
                    )
                return progress_bar("describing", total, done=done, unit="cells")

            describe = audited.described(describing.describe)
            with audited.saying_all():
                if not targets:
                    done = describe_to_stream(run, stream, describe)
                    check()
                elif targets[0].suffix == PARTS_SUFFIX:
                    done = describe_to_parts(
                        run,
                        targets[0],
                        describe,
                        restart=options.restart,
                        advance=advance,
                        check=check,
                        kept=audited.kept,
                        grouping=grouping,
                    )
                else:
                    done = describe_to_files(
                        run,
                        targets,
                        describe,
                        force=options.force,
                        restart=options.restart,
                        advance=advance,
                        check=check,
                        kept=audited.kept,
                        schema=schema,
                        grouping=grouping,
                    )
            audited.stop(done)
            for warning in schema.warnings if schema else []:
                report(f"warning: {warning}")
            if options.profile:
                for line in describing.profile().splitlines():
                    report(line)
        return done


def _embedding_for(grouping: Grouping, options: DescribeFileOptions) -> DescribeFileOptions:
    """The options, with embeddings kept if the groups are computed from them.

    Raises:
        OutputError: Parts keep them only where they are written.
    """
    if grouping.given is not None:
        return options
    parts = options.output is not None and options.output.suffix == PARTS_SUFFIX
    if parts and not options.embedding:
        problem = "clusters are computed from the embeddings, which these parts would not hold"
        raise OutputError(problem, hint="add --embedding, or group by a column of obs")
    return replace(options, describing=replace(options.describing, embedding=True))


def _earlier(
    options: DescribeFileOptions, reader: CellReader, targets: tuple[Path, ...]
) -> list[str]:
    """What of an earlier run a copy of the cells will not have."""
    if not any(target.suffix == OBS_SUFFIX for target in targets):
        return []
    left_out = (() if options.groups else GROUP_COLUMNS) + (
        () if options.describing.embedding else (EMBEDDING,)
    )
    return earlier_results(
        options.cells,
        reader.cell_index,
        column=DESCRIPTION,
        what="descriptions",
        left_out=left_out,
    )


class _Here:
    """Cells are described by this process."""

    def __init__(self, describer: Describer, reader: CellReader) -> None:
        self.describer: Describer | None = describer
        self._describer, self._reader = describer, reader
        self.label, self.hint = describer.engines.label, describer.engines.hint
        self.reason = describer.reason

    def describe(self, start: int) -> Iterator[Description]:
        """See `Describing.describe`."""
        chunks = self._reader.chunks(start, chunk_cells=CHUNK_CELLS)
        return self._describer.describe(chunks, going_on=start > 0)

    def profile(self) -> str:
        """See `Describing.profile`."""
        self._describer.clock.split("read", "encode", self._reader.encode_seconds)
        return profile_text(self._describer.profile())


@contextmanager
def _here(bundle: Bundle, options: DescribeFileOptions, reader: CellReader) -> Iterator[Describing]:
    least = options.least_batch_size
    yield _Here(Describer(bundle, options.describing, least_batch_size=least), reader)


def make_run(cells: Path, reader: CellReader, describer: Describer, *, bundle: Bundle) -> Run:
    """The run's identity: all that changes a description, and nothing that does not."""
    return described_run(
        cells, reader, describer.options, bundle=bundle, engine=describer.engines.label
    )
