"""Errors of NVIDIA's libraries become errors of ours."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from c2t.kernels.errors import KernelError

# What a mistake of our own raises: it must keep its traceback.
_MISTAKES = (AssertionError, AttributeError, LookupError, NameError, TypeError)


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a call of `cuda.bindings.driver`, which returns (error, value ...).

    Raises:
        KernelError: The driver reports an error.
    """
    error, *values = result
    if int(error):
        problem = f"the GPU driver reports {error}"
        raise KernelError(problem, hint="run `c2t doctor`")
    return values[0] if values else None


class LibraryErrors:
    """A context in which errors of cuda.core become a `KernelError`.

    cuda.core raises ImportError where it is not installed, RuntimeError where a library is not
    found, ValueError for a launch that the device has no room for, and for all else CUDAError, a
    class that it does not export (1.2). So every error is taken, but for those that a mistake of
    our own raises.

    Args:
        problem: What cannot be done; the library's message follows.
        hint: What to do about it.
    """

    def __init__(self, problem: str, *, hint: str) -> None:
        self._problem, self._hint = problem, hint

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise the `KernelError`, if there was an error."""
        if isinstance(error, Exception) and not isinstance(error, (KernelError, *_MISTAKES)):
            problem = f"{self._problem}: {error}"
            raise KernelError(problem, hint=self._hint) from error
