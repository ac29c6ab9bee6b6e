"""Checks that refuse a calibration before the bundle is hashed or a cell is described."""

from __future__ import annotations

from pathlib import Path

from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.cell_selection import FEWEST_CELLS, check_cell_count
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.true_labels import USUAL_COLUMNS
from c2t.calibration.evaluate.truth import read_truth
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import GENES_NAME
from c2t.runtime.bundle.precision import QUANTISED, Precision
from c2t.runtime.bundle.tasks import SEARCH
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.describe.asked_bundle import check_describes
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.labels.label_map import read_label_map
from c2t.runtime.labels.ontology_file import read_ontology
from c2t.runtime.system.errors import CalibrationError, OutputError
from c2t.runtime.system.files import check_folder_target


def check_options(options: CalibrateOptions) -> None:
    """Refuse options that are wrong for every bundle and every file of cells.

    Raises:
        CalibrationError: A number out of range, a precision that is not quantised, or a float32
            prefix where all activations are float32.
    """
    for name, value, least, better in (
        ("--cells-count", options.cells_count, FEWEST_CELLS, ", better 256"),
        ("--gate-cells", options.gate_cells, 1, ", better 256"),
        ("--divergence-products", options.divergence_linears, 0, ""),
        ("--seed", options.seed, 0, ""),
        ("--threads", options.threads, 1, ""),
    ):
        if value is not None and value < least:
            problem = f"{name} is {value}"
            raise CalibrationError(problem, hint=f"give at least {least}{better}")
    if options.float_prefix and options.precision.is_weight_only:
        problem = f"--float-prefix is for int8: {options.precision} has all activations in float32"
        raise CalibrationError(problem, hint="leave --float-prefix out")
    if options.precision not in QUANTISED:
        problem = f"a bundle cannot be calibrated to precision {options.precision}"
        raise CalibrationError(problem, hint=f"choose one of {', '.join(QUANTISED)}")


def check_calibration(source: Bundle, options: CalibrateOptions) -> None:
    """Refuse options, a bundle or cells that a calibration cannot use.

    The cheapest checks come first. Of the bundle, only the manifest is read.

    Args:
        source: The bundle; its hashes need not have been compared.

    Raises:
        CalibrationError: See `check_options`; or a quantised bundle, too few cells, or no such
            column of labels.
        TaskError: The bundle writes no descriptions, by which it could be judged.
        EngineError: ONNX Runtime is not installed.
        EvaluationError: A label map, an ontology or labels that the gate cannot judge by.
        OutputError: The target cannot be written, or is the source.
        CellFileError: The file cannot be read as counts.
    """
    check_options(options)
    _check_output(source.path, options)
    # Without a decoder, vectors are judged.
    if source.manifest.has_decoder:
        check_describes(source)
    else:
        source.manifest.need_task(SEARCH)
    if source.manifest.precision != Precision.fp32:
        problem = f"{source.path} is a bundle of precision {source.manifest.precision} already"
        raise CalibrationError(problem, hint="start from the float32 bundle that it was made from")
    load_onnxruntime()
    read_label_map(options.label_map)
    if options.ontology is not None:
        read_ontology(options.ontology)
    genes = source.genes if GENES_NAME in source.manifest.files else None
    with CellCounts(options.cells, options.reading, genes) as cells:
        check_cell_count(cells.n_cells)
        column = label_column(cells, options)
    if column is not None and source.manifest.has_decoder:
        read_truth(judging_options(options, column))


def label_column(cells: CellCounts, options: CalibrateOptions) -> str | None:
    """The column of cell types to use; None if none is named and the usual one is not there.

    Raises:
        CalibrationError: The file does not have the column that the options name.
    """
    usual, columns = USUAL_COLUMNS["cell_type"], cells.obs_columns
    if options.label_column is None:
        return usual if usual in columns else None
    if options.label_column not in columns:
        problem = f"{cells.name} has no column {options.label_column!r} of cell types"
        hint = f"the columns there are: {', '.join(sorted(columns)) or 'none'}"
        raise CalibrationError(problem, hint=hint)
    return options.label_column


def judging_options(options: CalibrateOptions, column: str | None) -> EvaluateOptions:
    """How the gate judges, on all cells of the file.

    Args:
        options: Of the calibration.
        column: Column of cell types; None: no labels.
    """
    return EvaluateOptions(
        cells=options.cells,
        columns={"cell_type": column},
        label_map=options.label_map,
        ontologies={"cell_type": options.ontology},
        reading=options.reading,
    )


def _check_output(source: Path, options: CalibrateOptions) -> None:
    place = check_folder_target(options.output, force=options.force)
    inside = source.resolve()
    if place == inside or place in inside.parents:
        problem = f"{options.output} holds the bundle that is to be calibrated"
        raise OutputError(problem, hint="write to another folder")
