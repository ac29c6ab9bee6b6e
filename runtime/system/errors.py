"""Errors a user can mend: what is wrong, with the value, and a hint what to do.

Their base lies with the kernels, which import nothing of the rest.
"""

from c2t.kernels.errors import C2TError as C2TError


class CheckpointError(C2TError):
    """A PyTorch checkpoint, adapter or dictionary that cannot be used as it is."""


class ParityError(C2TError):
    """The exported graphs do not compute what the PyTorch model computes."""


class BundleError(C2TError):
    """A bundle that is damaged, incomplete, from a newer version, or not a bundle."""


class TaskError(C2TError):
    """Something is asked of a bundle that it is not made for."""


class TrustError(BundleError):
    """A bundle that the trusted key has not signed as it is, or a key that cannot be used."""


class AuditError(C2TError):
    """An audit trail that was changed, has another key, or cannot be written."""


class CellFileError(C2TError):
    """A file of cells that cannot be read as counts over known genes."""


class EngineError(C2TError):
    """An engine that is not installed, does not work here, or refuses a graph."""


class EvaluationError(C2TError):
    """Labels, ontologies or references that texts cannot be judged by."""


class CalibrationError(C2TError):
    """Cells or a bundle that calibration cannot use, or a result that does not pass the gate."""


class ReportError(C2TError):
    """Results, labels or cells that no report or picture can be made of."""


class OutputError(C2TError):
    """A place for results that cannot be written, or holds results of another run."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text; ONNX Runtime adds pages of stack to some."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
