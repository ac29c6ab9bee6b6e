"""Errors a user can mend, and that of the kernels."""


class C2TError(Exception):
    """Base of every error that is the input's or the set-up's fault, not a bug of c2t.

    Args:
        problem: What is wrong, with the offending value.
        hint: What to do about it; printed as a line of its own.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n\nhint: {self.hint}" if self.hint else self.problem


class KernelError(C2TError, ValueError):
    """Arguments that do not fit each other, or a forced implementation that this machine lacks."""
