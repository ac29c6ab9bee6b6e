"""The cells of one calibration: chosen, read, and described by the float32 bundle.

One decision: the gene tokens of all chosen cells are read before an engine opens, so a file whose
cells cannot be described is refused in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.cell_selection import FEWEST_CELLS, CellSelection, select_cells
from c2t.calibration.checks import judging_options, label_column
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.truth import Truth, read_truth
from c2t.calibration.ranges.system_inputs import CalibrationCell, encoder_inputs
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.system.errors import CalibrationError
from c2t.runtime.system.progress import progress_bar


@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenCells:
    """The cells to calibrate on, and the cells of the gate.

    Args:
        cells: The calibration cells with the float32 bundle's texts.
        names: Their names, those that could not be described included.
        gate: How to read and judge the held-out cells.
        gate_names: Names of the held-out cells.
        truth: Labels of the held-out cells; None without a column of labels.
        method: How the calibration cells were chosen, in words.
        reduced: Says that the file has too few cells for what was asked; None if it has enough.
    """

    cells: list[CalibrationCell]
    names: tuple[str, ...]
    gate: EvaluateOptions
    gate_names: tuple[str, ...]
    truth: Truth | None
    method: str
    reduced: str | None


def choose_cells(
    bundle: Bundle, options: CalibrateOptions, *, report: Callable[[str], None]
) -> ChosenCells:
    """Choose cells, and let the float32 bundle describe those to calibrate on.

    Raises:
        CalibrationError: Too few cells, too few that can be described, or no column of that name.
        EvaluationError: Labels that the gate cannot judge by.
        CellFileError: The file cannot be read as counts over known genes.
    """
    with open_cells(options.cells, bundle, options.reading) as reader:
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        column = label_column(reader, options)
        selection = select_cells(
            reader.n_cells,
            calibration=options.cells_count,
            gate=options.gate_cells,
            seed=options.seed,
            labels=None if column is None else reader.obs_column(column),
            embed=lambda positions: _embed(bundle, options, reader, positions),
        )
        gate = _gate_options(options, reader, selection, column)
        chunks = _read(bundle, options, reader, selection.calibration, least=FEWEST_CELLS)
        _read(bundle, options, reader, selection.gate, least=1)
        names = reader.cell_ids
    # Vectors are compared with vectors, whatever the labels are.
    truth = None if column is None or not bundle.manifest.has_decoder else read_truth(gate)
    report(f"calibrating on {len(selection.calibration):,} cells: {selection.method}")
    if selection.reduced is not None:
        report(f"warning: {selection.reduced}")
    return ChosenCells(
        cells=(_described if bundle.manifest.has_decoder else _read_only)(bundle, options, chunks),
        names=tuple(names[i] for i in selection.calibration),
        gate=gate,
        gate_names=tuple(names[i] for i in selection.gate),
        truth=truth,
        method=selection.method,
        reduced=selection.reduced,
    )


def _gate_options(
    options: CalibrateOptions, reader: CellReader, selection: CellSelection, column: str | None
) -> EvaluateOptions:
    return replace(
        judging_options(options, column),
        reading=_only(options, reader, selection.gate),
        # Calibration is about the CPU's graphs; a GPU runs a variant of them.
        describing=DescribeOptions(threads=options.threads, engine="cpu"),
    )


def _only(options: CalibrateOptions, reader: CellReader, positions: Sequence[int]) -> CellOptions:
    """How to read only the cells at these positions of the reader."""
    return replace(options.reading, cells=reader.cell_index[list(positions)].tolist(), limit=None)


def _read(
    bundle: Bundle,
    options: CalibrateOptions,
    reader: CellReader,
    positions: Sequence[int],
    *,
    least: int,
) -> list[EncodedCells]:
    """Gene tokens of the cells at these positions of the reader.

    Args:
        bundle: The float32 bundle.
        options: How to read the file.
        reader: The opened file.
        positions: Which cells.
        least: How many of them must have gene tokens.

    Raises:
        CalibrationError: Fewer have.
    """
    with open_cells(options.cells, bundle, _only(options, reader, positions)) as chosen:
        chunks = list(chosen.chunks())
    _check_usable([error for chunk in chunks for error in chunk.errors], least)
    return chunks


def _check_usable(errors: Sequence[str | None], least: int) -> None:
    """Refuse cells of which too few can be described.

    Args:
        errors: Of each cell; None where it can be described.
        least: How many must be.

    Raises:
        CalibrationError: Fewer are.
    """
    usable = sum(error is None for error in errors)
    if usable < least:
        first = next((f": {error}" for error in errors if error is not None), "")
        problem = f"only {usable} of {len(errors)} cells can be described{first}"
        raise CalibrationError(problem, hint="look at the cells with `c2t describe`")


def _described(
    bundle: Bundle, options: CalibrateOptions, chunks: Sequence[EncodedCells]
) -> list[CalibrationCell]:
    """Cells with their texts; those without a text are left out.

    Raises:
        CalibrationError: Too few are left.
    """
    cells: list[CalibrationCell] = []
    errors: list[str | None] = []
    describer = Describer(bundle, DescribeOptions(threads=options.threads, engine="cpu"))
    count = sum(len(chunk.ids) for chunk in chunks)
    with progress_bar("describing", count, unit="cells") as advance:
        for chunk in chunks:
            for tokens, description in zip(chunk.tokens, describer.describe([chunk]), strict=True):
                advance(1)
                errors.append(description.error)
                if description.text is not None:
                    text = description.tokens
                    cells.append(CalibrationCell(gene_tokens=tokens, text_tokens=text))
    _check_usable(errors, FEWEST_CELLS)
    return cells


def _read_only(
    _: Bundle, __: CalibrateOptions, chunks: Sequence[EncodedCells]
) -> list[CalibrationCell]:
    """Cells without texts, which a bundle without a decoder does not write."""
    return [
        CalibrationCell(gene_tokens=tokens, text_tokens=())
        for chunk in chunks
        for tokens, error in zip(chunk.tokens, chunk.errors, strict=True)
        if error is None
    ]


def _embed(
    bundle: Bundle, options: CalibrateOptions, reader: CellReader, positions: Sequence[int]
) -> NDArray[np.float32]:
    """What cells are compared by, [n, H]; zeros for a cell without genes.

    The mean of the encoder's output rows; without an encoder, that of the prompt's rows in the text
    token table: other genes are other words.
    """
    manifest = bundle.manifest
    size = manifest.gene_input.hidden_size if manifest.has_encoder else manifest.decoder.hidden_size
    vectors = np.zeros((len(positions), size), np.float32)
    errors: list[str | None] = []
    session = None
    with (
        open_cells(options.cells, bundle, _only(options, reader, positions)) as pool,
        progress_bar("choosing cells", pool.n_cells, unit="cells") as advance,
    ):
        for chunk in pool.chunks():
            errors += chunk.errors
            for number, tokens in enumerate(chunk.tokens, chunk.first):
                if len(tokens) and not manifest.has_encoder:
                    vectors[number] = bundle.token_embedding[tokens].mean(axis=0)
                elif len(tokens):
                    if session is None:  # only for cells that can be described
                        threads = EngineOptions(threads=options.threads, spin=False)
                        session = open_session(bundle.file("encoder.onnx"), threads)
                    hidden = session.run(["hidden"], encoder_inputs(bundle, tokens))[0]
                    vectors[number] = hidden[0].mean(axis=0)
                advance(1)
    _check_usable(errors, FEWEST_CELLS)
    return vectors
