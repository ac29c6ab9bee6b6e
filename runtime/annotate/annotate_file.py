"""One file of cells and a list of labels into files of probabilities: `c2t annotate` as a function.

One decision: a run is not resumed. It takes about as long as writing the texts of the cells, and
its outputs appear together, whole, when the last cell is done.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import c2t
from c2t.runtime.annotate.calibration import (
    Calibration,
    fit_calibration,
    load_calibration,
    save_calibration,
)
from c2t.runtime.annotate.comparers import check_comparing, comparing_settings, open_comparer
from c2t.runtime.annotate.into_h5ad import LABEL
from c2t.runtime.annotate.kept_labels import KeptLabels, compare_cells
from c2t.runtime.annotate.labels import Labels, id_doubts, read_labels, with_ids
from c2t.runtime.annotate.outputs import (
    FORMATS,
    MATRIX_FORMATS,
    Output,
    check_output,
    json_line,
    json_lines,
)
from c2t.runtime.annotate.results import Results
from c2t.runtime.annotate.truth import TrueLabels, true_labels
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import ANNOTATE
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.annotator import AnnotateOptions
from c2t.runtime.describe.labelled_cell import LabelledCell, no_label_fits
from c2t.runtime.output.audited_run import RunAudit
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.earlier import earlier_results
from c2t.runtime.output.formats import OBS_SUFFIX
from c2t.runtime.output.kept_cells import forgetting, keeping, run_mark
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import C2TError, OutputError
from c2t.runtime.system.files import atomic_files, check_target
from c2t.runtime.system.words import counted

HashProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class AnnotateFileOptions:
    """What to annotate and where to write it.

    Args:
        cells: The file of cells.
        labels: See `c2t.runtime.annotate.labels.read_labels`.
        ontology: See there.
        output: The file to write; its suffix says the format. None: lines of JSON to the stream.
        matrix: The probability of every label: `.csv` or `.parquet`.
        top: Labels of each cell in tables and lines of JSON.
        calibration: A calibration to use.
        calibrate_on: Column with the true labels of some cells; a calibration is fitted on them.
        label_map: JSON: a value of that column -> the label.
        save_calibration: Where to write it.
        force: Replace existing outputs.
        restart: Forget what an interrupted run left.
        reading: How to read the cells, and which.
        annotating: How to compare labels.
        label_template: A text with {label} in it, which a joint space reads; None: the label alone.
    """

    cells: Path
    labels: str
    ontology: Path | None = None
    output: Path | None = None
    matrix: Path | None = None
    top: int = 3
    calibration: Path | None = None
    calibrate_on: str | None = None
    label_map: Path | None = None
    save_calibration: Path | None = None
    force: bool = False
    restart: bool = False
    reading: CellOptions = field(default_factory=CellOptions)
    annotating: AnnotateOptions = field(default_factory=AnnotateOptions)
    label_template: str | None = None


@dataclass(frozen=True, kw_only=True)
class AnnotateSummary:
    """How a run ended.

    Attributes:
        cells: Cells of the run.
        failed: Those of them that have an error.
        error: The most frequent error, if there is one.
        error_cells: How many cells have it.
        labels: Labels that were compared.
        temperature: In force.
        calibration: What was fitted in this run.
        seconds: Time of the run.
        outputs: The files written.
    """

    cells: int
    failed: int
    error: str | None
    error_cells: int
    labels: int
    temperature: float
    calibration: Calibration | None
    seconds: float
    outputs: tuple[str, ...]


def _no_bar(total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda amount: None)


def check_paths(options: AnnotateFileOptions) -> None:
    """Refuse paths that would make the run fail; needs no bundle.

    Raises:
        CellFileError: The cells are not there, or no file.
        OutputError: An output that cannot or must not be written.
    """
    check_cells_path(options.cells)
    cells, force = options.cells, options.force
    if options.output is not None:
        check_output(options.output, FORMATS, cells=cells, force=force)
    if options.matrix is not None:
        check_output(options.matrix, MATRIX_FORMATS, cells=cells, force=force)
    if options.save_calibration is not None:
        check_not_cells(options.save_calibration, cells)
        check_target(options.save_calibration, force=force)
    named = [path for path in (options.output, options.matrix, options.save_calibration) if path]
    if len({path.absolute() for path in named}) < len(named):
        problem = f"{named[-1]} is to be written twice"
        raise OutputError(problem, hint="give every output a name of its own")


def annotate_file(
    bundle: Bundle,
    options: AnnotateFileOptions,
    *,
    stream: IO[bytes],
    report: Callable[[str], None],
    hash_progress: HashProgress = _no_bar,
    audit: AuditTrail | None = None,
    audit_reason: str = "",
) -> AnnotateSummary:
    """Compare labels for the cells of a file.

    Args:
        bundle: The bundle, whose hashes need not be checked yet.
        options: What and where.
        stream: Takes the lines of JSON when there is no file to write.
        report: Told what was found out, a sentence at a time.
        hash_progress: Given the number of bytes to hash, shows progress.
        audit: Told what is done: see `c2t.runtime.output.audited_run`.
        audit_reason: Why settings are others than before.

    Raises:
        BundleError: A file of the bundle is not as it was written; or its captions do not name
            cell types where the labels would be read.
        LabelError: Labels that cannot be compared.
        CalibrationFileError: A calibration that cannot be used or fitted.
        CellFileError: The file cannot be read as counts over known genes.
        OutputError: A place that cannot be written.
        EngineError: No engine runs here.
        AuditError: The audit trail takes no line.
    """
    started = time.monotonic()
    bundle.manifest.need_task(ANNOTATE)
    check_paths(options)
    check_comparing(bundle, options.annotating, options.label_template)
    audited = RunAudit(audit, options.cells, scope="annotate", reason=audit_reason)
    labels = read_labels(options.labels, options.ontology)
    report(f"{counted(len(labels.labels), 'label')} of {labels.source}")
    bundle.check_on_use(hash_progress)
    calibration = None
    if options.calibration is not None:
        calibration = load_calibration(options.calibration, labels.names, bundle)
        report(calibration.sentence)
    with open_cells(options.cells, bundle, options.reading) as reader:
        truth = _truth(reader, labels, options, report)
        mark = CellsMark.of(options.cells)
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        for warning in (*reader.warnings, *_earlier(options, reader)):
            report(f"warning: {warning}")
        annotating = options.annotating
        if calibration is not None:
            annotating = replace(annotating, temperature=calibration.temperature)
        comparer = open_comparer(bundle, labels.names, annotating, options.label_template)
        doubts = [*id_doubts(labels, comparer.fields), *comparer.doubts]
        labels = with_ids(labels, comparer.fields)
        for doubt in doubts:
            report(f"warning: {doubt}")
        report(comparer.reason)
        results = Results(
            reader.cell_ids,
            reader.cell_index,
            labels,
            temperature=annotating.temperature,
            engine=comparer.engine,
        )
        settings = _settings(bundle, options, reader, labels=labels)
        audited.start(
            bundle,
            engine=comparer.engine,
            cells=reader.n_cells,
            version=c2t.__version__,
            settings=settings,
            files={"calibration": options.calibration, "label map": options.label_map},
        )
        run = run_mark("annotate", bundle, mark, reader.cell_index, settings)
        with keeping(
            options.output, run, reader.cell_index, kind=KeptLabels, restart=options.restart
        ) as journal:
            passed = _printer(options, labels, stream, audited)
            compare_cells(comparer, reader, results, journal, passed=passed, report=report)
            with forgetting(journal):
                bundle.check_unchanged()
                audited.check_cells()
                mark.check_unchanged(options.cells, hint="run again")
            for doubt in no_label_fits(results.masses()):
                report(f"warning: {doubt}")
            fitted = None
            if truth is not None and len(results.errors) < len(results.ids):
                fitted = _fit(results, truth, bundle, options)
                report(fitted.sentence)
                results.temperature = fitted.temperature
            about = _about(bundle, reader, results)
            output = Output(results=results, cells=options.cells, top=options.top, about=about)
            done = _write(output, options, started=started, fitted=fitted)
    if options.output is None and fitted is not None:  # else they were written one by one
        for line in json_lines(output):
            stream.write(line)
            audited.printed(line)
    audited.stop(cells=done.cells, failed=done.failed, outputs=done.outputs)
    return done


def _printer(
    options: AnnotateFileOptions, labels: Labels, stream: IO[bytes], audited: RunAudit
) -> Callable[[LabelledCell], None]:
    """What is done with each cell as soon as it is there."""
    if options.output is not None or options.calibrate_on is not None:
        return lambda cell: None

    def print_cell(cell: LabelledCell) -> None:
        line = json_line(cell, labels, options.top)
        stream.write(line)
        stream.flush()
        audited.printed(line)

    return print_cell


def _earlier(options: AnnotateFileOptions, reader: CellReader) -> list[str]:
    """What of an earlier run a copy of the cells will not have."""
    if options.output is None or options.output.suffix != OBS_SUFFIX:
        return []
    return earlier_results(options.cells, reader.cell_index, column=LABEL, what="labels")


def _truth(
    reader: CellReader,
    labels: Labels,
    options: AnnotateFileOptions,
    report: Callable[[str], None],
) -> TrueLabels | None:
    if options.calibrate_on is None:
        return None
    truth = true_labels(reader, options.calibrate_on, labels, label_map=options.label_map)
    report(truth.sentence)
    return truth


def _fit(
    results: Results, truth: TrueLabels, bundle: Bundle, options: AnnotateFileOptions
) -> Calibration:
    usable = truth.places >= 0
    usable[list(results.errors)] = False
    return fit_calibration(
        results.log_probabilities[usable].astype("float64"),
        truth.places[usable],
        results.labels.names,
        bundle=bundle,
        source=f"{options.cells.name}, obs {options.calibrate_on!r}",
    )


def _settings(
    bundle: Bundle, options: AnnotateFileOptions, reader: CellReader, *, labels: Labels
) -> dict[str, str]:
    """All that changes what comes out, by name."""
    listed = json_bytes([[label.name, label.id] for label in labels.labels])
    return {
        **comparing_settings(bundle, options.annotating, options.label_template, reader),
        "labels": f"{len(labels.labels)} of {labels.source}",
        "labels sha256": hashlib.sha256(listed).hexdigest(),
        "top": str(options.top),
        **({} if options.calibrate_on is None else {"calibrate on": options.calibrate_on}),
    }


def _about(bundle: Bundle, reader: CellReader, results: Results) -> dict[str, Any]:
    """Provenance to be stored with the results."""
    return {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "precision": bundle.manifest.precision,
        "c2t_version": c2t.__version__,
        "engine": results.engine,
        "labels_from": results.labels.source,
        "temperature": results.temperature,
        "counts": reader.counts_report.sentence,
        "genes": reader.gene_report.sentence,
        "cells": len(results.ids),
        "cells_with_errors": len(results.errors),
    }


def _write(
    output: Output,
    options: AnnotateFileOptions,
    *,
    started: float,
    fitted: Calibration | None,
) -> AnnotateSummary:
    results = output.results
    wanted = [(options.output, FORMATS), (options.matrix, MATRIX_FORMATS)]
    targets = [(path, formats[path.suffix].write) for path, formats in wanted if path is not None]
    paths = [path for path, _ in targets]
    error, error_cells = results.common_error()
    try:
        with atomic_files(paths, force=options.force) as temporaries:
            for (_, write), temporary in zip(targets, temporaries, strict=True):
                write(output, temporary)
        if fitted is not None and options.save_calibration is not None:
            save_calibration(fitted, options.save_calibration, force=options.force)
            paths.append(options.save_calibration)
    except OSError as cause:
        names = ", ".join(map(str, paths))
        problem = f"cannot write {names}: {cause.strerror or cause}"
        raise OutputError(problem, hint="mend that and run the same command again") from cause
    return AnnotateSummary(
        cells=len(results.ids),
        failed=len(results.errors),
        error=error,
        error_cells=error_cells,
        labels=len(results.labels.labels),
        temperature=results.temperature,
        calibration=fitted,
        seconds=round(time.monotonic() - started, 3),
        outputs=tuple(map(str, paths)),
    )


def refuse_if_all_failed(done: AnnotateSummary, cells: Path) -> None:
    """Refuse to call a run a success in which no cell was annotated.

    Raises:
        C2TError: None was.
    """
    if done.failed < done.cells:
        return
    most = "all" if done.error_cells == done.cells else f"{done.error_cells:,}"
    problem = f"no cell of {cells} could be annotated; {most} of the {done.cells:,}: {done.error}"
    raise C2TError(problem, hint="name other counts or genes with --layer and --gene-column")
