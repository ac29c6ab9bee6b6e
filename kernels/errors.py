"""The one error of the kernels: unusable arguments, or an implementation that is missing."""

from c2t.runtime.system.errors import C2TError


class KernelError(C2TError, ValueError):
    """Arguments that do not fit each other, or a forced implementation that this machine lacks."""
