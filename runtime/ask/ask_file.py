"""One file of cells and a question into answers: `c2t ask` as a function.

One decision: a run is not resumed. Its file appears whole, when the last answer is there; without a
file, each answer is printed as soon as it is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import c2t
from c2t.runtime.ask.groups import group_labels, places_of
from c2t.runtime.ask.results import (
    FORMATS,
    AnswerRecord,
    answer_record,
    check_output,
    json_line,
)
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.asker import Answer, Asker, check_grouping
from c2t.runtime.describe.describer import DescribeOptions, Describer, check_options
from c2t.runtime.describe.question import Question
from c2t.runtime.describe.text_settings import all_settings
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.audited_run import RunAudit
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.grouping import Grouping, prepare_grouping
from c2t.runtime.output.run_settings import run_settings
from c2t.runtime.system.errors import C2TError, OutputError
from c2t.runtime.system.files import atomic_files
from c2t.runtime.system.progress import progress_bar

HashProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class AskFileOptions:
    """What to ask, and where to write the answers.

    Args:
        cells: The file of cells.
        question: What to ask.
        output: The file to write; its suffix says the format. None: lines of JSON to the stream.
        groups: Ask about groups instead of cells.
        force: Replace an existing output.
        reading: How to read the cells, and which.
        describing: How answers are written.
    """

    cells: Path
    question: Question
    output: Path | None = None
    groups: GroupOptions | None = None
    force: bool = False
    reading: CellOptions = field(default_factory=CellOptions)
    describing: DescribeOptions = field(default_factory=DescribeOptions)


@dataclass(frozen=True, kw_only=True)
class AskSummary:
    """How a run ended.

    Attributes:
        answers: Cells or groups that were asked about.
        failed: Those of them that have an error.
        error: The most frequent error, if there is one.
        cut: Answers that ended at the longest length.
        partly: Groups whose answer rests on some of their cells only.
        settings: How they were written.
        seconds: Time of the run.
        outputs: The files written.
    """

    answers: int
    failed: int
    error: str | None
    cut: int
    partly: int
    settings: dict[str, Any]
    seconds: float
    outputs: tuple[str, ...]


def _no_bar(total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda amount: None)


def check_paths(options: AskFileOptions) -> None:
    """Refuse paths that would make the run fail; needs no bundle.

    Raises:
        CellFileError: The cells are not there, or no file.
        OutputError: An output that cannot or must not be written.
    """
    check_cells_path(options.cells)
    if options.output is not None:
        check_output(options.output, cells=options.cells, force=options.force)


def ask_file(
    bundle: Bundle,
    options: AskFileOptions,
    *,
    stream: IO[bytes],
    report: Callable[[str], None],
    hash_progress: HashProgress = _no_bar,
    audit: AuditTrail | None = None,
    audit_reason: str = "",
) -> AskSummary:
    """Ask a question about the cells of a file.

    Args:
        bundle: The bundle, whose hashes need not be checked yet.
        options: What and where.
        stream: Takes the lines of JSON when there is no file to write.
        report: Told what was found out, a sentence at a time.
        hash_progress: Given the number of bytes to hash, shows progress.
        audit: Told what is done: see `c2t.runtime.output.audited_run`.
        audit_reason: Why settings are others than before.

    Raises:
        BundleError: A file of the bundle is not as it was written; it cannot answer questions.
        C2TError: A question that cannot be asked, or groups that it has no place for.
        CellFileError: The file cannot be read as counts over known genes.
        OutputError: A place that cannot be written.
        EngineError: No engine runs here.
        AuditError: The audit trail takes no line.
    """
    started = time.monotonic()
    check_paths(options)
    options.question.check(bundle)
    check_grouping(bundle, grouped=options.groups is not None)
    check_options(bundle, options.describing)
    audited = RunAudit(audit, options.cells, scope="ask", reason=audit_reason)
    bundle.check_on_use(hash_progress)
    with open_cells(options.cells, bundle, options.reading, named=True) as reader:
        mark = CellsMark.of(options.cells)
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        for warning in reader.warnings:
            report(f"warning: {warning}")
        grouping = _grouping(bundle, options, reader, report)
        describer = Describer(bundle, options.describing)
        report(describer.reason)
        settings = all_settings(describer.generation)
        audited.start(
            bundle,
            engine=describer.engines.label,
            cells=reader.n_cells,
            version=c2t.__version__,
            settings=_settings(bundle, options, reader),
            files={},
        )
        records: list[AnswerRecord] = []
        for answer in _answers(describer, bundle, options, grouping, reader):
            records.append(answer_record(answer, options.question, settings))
            if options.output is None:
                line = json_line(records[-1])
                stream.write(line)
                stream.flush()
                audited.printed(line)
        bundle.check_unchanged()
        audited.check_cells()
        mark.check_unchanged(options.cells, hint="run again")
        about = _about(bundle, options, reader, describer)
    done = _write(records, options, about | {"settings": settings}, started=started)
    audited.stop(cells=done.answers, failed=done.failed, outputs=done.outputs)
    return done


def _grouping(
    bundle: Bundle, options: AskFileOptions, reader: CellReader, report: Callable[[str], None]
) -> Grouping | None:
    if options.groups is None:
        return None
    grouping = prepare_grouping(options.groups, reader, bundle.manifest, report=report)
    report(grouping.sentence)
    for warning in grouping.warnings:
        report(f"warning: {warning}")
    return grouping


def _answers(
    describer: Describer,
    bundle: Bundle,
    options: AskFileOptions,
    grouping: Grouping | None,
    reader: CellReader,
) -> Iterator[Answer]:
    """Answers in order, with a bar."""
    asker = Asker(describer, bundle, options.question)
    if grouping is None:
        answers, count, unit = asker.ask(reader), reader.n_cells, "cells"
    else:
        with progress_bar("grouping", reader.n_cells, unit="cells") as step:
            labels = group_labels(grouping, describer, reader, bundle=bundle, advance=step)
        groups = places_of(labels)
        answers, count, unit = asker.ask_groups(reader, groups), len(groups), "groups"
    with progress_bar("asking", count, unit=unit) as step:
        for answer in answers:
            yield answer
            step(1)


def _settings(bundle: Bundle, options: AskFileOptions, reader: CellReader) -> dict[str, str]:
    """All that changes what comes out, by name."""
    groups = options.groups
    return {
        **run_settings(bundle, options.describing, reader),
        "question": options.question.text,
        **({"labels": "; ".join(options.question.labels)} if options.question.labels else {}),
        **({} if groups is None else {"group by": groups.by}),
    }


def _about(
    bundle: Bundle, options: AskFileOptions, reader: CellReader, describer: Describer
) -> dict[str, Any]:
    """Provenance to be stored with the answers."""
    return {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "precision": bundle.manifest.precision,
        "c2t_version": c2t.__version__,
        "engine": describer.engines.label,
        "group_by": None if options.groups is None else options.groups.by,
        "counts": reader.counts_report.sentence,
        "genes": reader.gene_report.sentence,
    }


def _write(
    records: list[AnswerRecord],
    options: AskFileOptions,
    about: dict[str, Any],
    *,
    started: float,
) -> AskSummary:
    errors = Counter(record.error for record in records if record.error is not None)
    output = options.output
    if output is not None:
        try:
            with (
                atomic_files([output], force=options.force) as (temporary,),
                temporary.open("wb") as stream,
            ):
                FORMATS[output.suffix].write(stream, records, about)
        except OSError as cause:
            problem = f"cannot write {output}: {cause.strerror or cause}"
            raise OutputError(problem, hint="mend that and run the same command again") from cause
    return AskSummary(
        answers=len(records),
        failed=sum(errors.values()),
        error=errors.most_common(1)[0][0] if errors else None,
        cut=sum(not record.whole for record in records if record.error is None),
        partly=sum(0 < record.cells < record.group_cells for record in records),
        settings=about["settings"],
        seconds=round(time.monotonic() - started, 3),
        outputs=() if output is None else (str(output),),
    )


def refuse_if_all_failed(done: AskSummary, cells: Path) -> None:
    """Refuse to call a run a success in which nothing was answered.

    Raises:
        C2TError: Nothing was.
    """
    if done.answers and done.failed < done.answers:
        return
    problem = f"nothing of {cells} could be asked about: {done.error or 'there are no groups'}"
    raise C2TError(problem, hint="name other cells, counts or genes; see `c2t ask --help`")
