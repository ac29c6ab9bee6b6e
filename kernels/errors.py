"""The base of all errors that a user can mend, and the error of the kernels."""


class C2TError(Exception):
    """Base of every error that comes from the input or the set-up, not from a bug of c2t.

    Args:
        problem: What is wrong, with the offending value.
        hint: What to do about it; printed on a line of its own.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n\nhint: {self.hint}" if self.hint else self.problem


class KernelError(C2TError, ValueError):
    """Arguments that do not fit each other, or an implementation that this machine cannot run."""
