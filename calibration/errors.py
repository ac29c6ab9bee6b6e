"""What can go wrong in judging or quantising a bundle, besides what the bundle and cells bring."""

from c2t.runtime.system.errors import C2TError


class EvaluationError(C2TError):
    """Labels, ontologies or references that texts cannot be judged by."""


class CalibrationError(C2TError):
    """Cells or a bundle that cannot be calibrated with, or a result that must not be shipped."""
