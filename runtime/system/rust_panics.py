"""Panics of libraries that are written in Rust, as errors that can be caught.

PyO3 raises them as a class of each library's own, derived from `BaseException` and importable from
nowhere: only its name tells it from Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RustPanicError(Exception):
    """A panic of a library in Rust; its words are the library's."""


@contextmanager
def rust_panics() -> Iterator[None]:
    """Raise a panic inside the block as `RustPanicError`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RustPanicError(str(error)) from error
