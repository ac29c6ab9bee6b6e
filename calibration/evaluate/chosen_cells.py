"""The cells of one calibration: chosen, read, and described by the float32 bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.cell_selection import FEWEST_CELLS, select_cells
from c2t.calibration.evaluate.quality_gate import held_out
from c2t.calibration.metrics.ontology_file import read_ontology
from c2t.calibration.metrics.true_labels import USUAL_COLUMNS, read_label_map, read_true_labels
from c2t.calibration.ranges.system_inputs import CalibrationCell, encoder_inputs
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.system.errors import CalibrationError
from c2t.runtime.system.progress import progress_bar


@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenCells:
    """What to calibrate on, and what to judge by.

    Args:
        cells: The calibration cells with the float32 bundle's texts.
        names: Their names.
        gate_positions: Positions of the held-out cells in the file.
        gate_names: Their names.
        label_column: Column of cell types that there is; None: none.
        method: How they were chosen, in words.
        reduced: What was asked for and could not be had.
    """

    cells: list[CalibrationCell]
    names: tuple[str, ...]
    gate_positions: tuple[int, ...]
    gate_names: tuple[str, ...]
    label_column: str | None
    method: str
    reduced: str | None


def choose_cells(
    bundle: Bundle, options: CalibrateOptions, *, report: Callable[[str], None]
) -> ChosenCells:
    """Choose cells, and let the float32 bundle describe those to calibrate on.

    Raises:
        CalibrationError: Too few cells, or no column of that name.
        EvaluationError: Labels, or an ontology, that the gate could not judge by.
        CellFileError: The file cannot be read as counts over known genes.
    """
    with open_cells(options.cells, bundle, options.reading) as reader:
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        column = _label_column(reader, options)
        if column is not None:
            # The gate would find out too, but only after the calibration.
            read_true_labels(reader, {"cell_type": column}, read_label_map(options.label_map))
            if options.ontology is not None:
                read_ontology(options.ontology)
        selection = select_cells(
            reader.n_cells,
            calibration=options.cells_count,
            gate=options.gate_cells,
            seed=options.seed,
            labels=None if column is None else reader.obs_column(column),
            embed=lambda positions: _embed(bundle, options, reader, positions),
        )
        names, index = reader.cell_ids, reader.cell_index
        gate = selection.gate
        calibration = index[list(selection.calibration)].tolist()
        found = ChosenCells(
            cells=[],
            names=tuple(names[i] for i in selection.calibration),
            gate_positions=tuple(index[list(gate)].tolist()),
            gate_names=tuple(names[i] for i in gate),
            label_column=column,
            method=selection.method,
            reduced=selection.reduced,
        )
    report(f"calibrating on {len(calibration):,} cells: {selection.method}")
    if selection.reduced is not None:
        report(f"warning: {selection.reduced}")
    found.cells.extend(_described(bundle, options, calibration))
    if len(found.cells) < FEWEST_CELLS:
        problem = f"only {len(found.cells)} of {len(calibration)} cells could be described"
        raise CalibrationError(problem, hint="look at the cells with `c2t describe`")
    return found


def _label_column(reader: CellReader, options: CalibrateOptions) -> str | None:
    usual, columns = USUAL_COLUMNS["cell_type"], reader.obs_columns
    if options.label_column is None:
        return usual if usual in columns else None
    if options.label_column not in columns:
        problem = f"{reader.name} has no column {options.label_column!r} of cell types"
        hint = f"the columns there are: {', '.join(sorted(columns)) or 'none'}"
        raise CalibrationError(problem, hint=hint)
    return options.label_column


def _described(
    bundle: Bundle, options: CalibrateOptions, positions: Sequence[int]
) -> list[CalibrationCell]:
    """The cells at these positions of the file; those without a text are left out."""
    reading = held_out(options.reading, positions)
    found = []
    describer = Describer(bundle, DescribeOptions(threads=options.threads, engine="cpu"))
    with (
        open_cells(options.cells, bundle, reading) as reader,
        progress_bar("describing", reader.n_cells, unit="cells") as advance,
    ):
        for chunk in reader.chunks():
            for tokens, description in zip(chunk.tokens, describer.describe([chunk]), strict=True):
                advance(1)
                if description.text is not None:
                    cell = CalibrationCell(gene_tokens=tokens, text_tokens=description.tokens)
                    found.append(cell)
    return found


def _embed(
    bundle: Bundle, options: CalibrateOptions, reader: CellReader, positions: Sequence[int]
) -> NDArray[np.float32]:
    """Mean of the encoder's output rows of each cell, [n, H]; a cell without genes gets zeros."""
    threads = EngineOptions(threads=options.threads, spin=False)
    session = open_session(bundle.file("encoder.onnx"), threads)
    reading = held_out(options.reading, reader.cell_index[list(positions)].tolist())
    vectors = np.zeros((len(positions), bundle.manifest.gene_input.hidden_size), np.float32)
    with (
        open_cells(options.cells, bundle, reading) as pool,
        progress_bar("choosing cells", pool.n_cells, unit="cells") as advance,
    ):
        for chunk in pool.chunks():
            for number, tokens in enumerate(chunk.tokens, chunk.first):
                if len(tokens):
                    hidden = session.run(["hidden"], encoder_inputs(bundle, tokens))[0]
                    vectors[number] = hidden[0].mean(axis=0)
                advance(1)
    return vectors
