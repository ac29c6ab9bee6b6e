"""Reading Geneformer's pickled dictionaries without running them.

One decision: a pickle is a program, so it is not unpickled. A small stack machine follows the few
instructions that build a dictionary of strings and numbers (NumPy's scalars among them) and stops
at any other instruction. It never looks up or calls what the file names.
"""

import pickletools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from c2t.runtime.system.errors import CheckpointError

# The largest published dictionary (V2's Ensembl mapping) has 4 MB and 173,697 entries.
MAX_BYTES = 256 * 1024 * 1024

Value = str | int | float

# The only names that a file may mention. The machine knows their meaning and imports nothing.
_SCALAR = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
_DTYPE = {"numpy dtype"}
_ENCODE = {"_codecs encode"}  # how protocol 2 writes bytes
_NUMBERS = {kind + size for kind in "iuf" for size in "1248"} - {"f1"}

_PUSH = {
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES",
    "SHORT_BINSTRING", "BINSTRING", "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1",
    "BINFLOAT", "FLOAT",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GET = {"BINGET", "LONG_BINGET", "GET"}
_PUT = {"BINPUT", "LONG_BINPUT", "PUT"}


@dataclass(frozen=True)
class _Global:
    """A name that the file mentions, not looked up."""

    name: str


@dataclass
class _NumberType:
    """A NumPy number type, like "<f8"."""

    code: str


class _Mark:
    """The start of a run of values on the stack."""


def read_pickled_dictionary(path: Path) -> dict[str, Value]:
    """Read a pickled dictionary from strings to strings, integers or floats.

    Args:
        path: A pickle of any protocol, at most `MAX_BYTES` long.

    Returns:
        The dictionary; NumPy's scalars as plain numbers.

    Raises:
        CheckpointError: The file is missing, too long, damaged, or holds anything else.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            problem = f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} of a dictionary"
            raise CheckpointError(problem, hint="check that it is a Geneformer dictionary")
        content = path.read_bytes()
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
        raise CheckpointError(problem, hint="check the path") from error
    machine = _Machine(path)
    try:
        for instruction, argument, _ in pickletools.genops(content):
            machine.follow(instruction.name, argument)
        return machine.result()
    except (ValueError, IndexError, KeyError, TypeError, UnicodeError) as error:
        problem = f"{path} is damaged or no pickle: {error}"
        raise CheckpointError(problem, hint="download it again") from error


@dataclass
class _Machine:
    """The stack and the memo of the pickle protocol, for few instructions."""

    path: Path
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def follow(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        if name in _PUSH:
            stack.append(argument)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _PUT:
            self.memo[int(argument)] = stack[-1]
        elif name in _GET:
            stack.append(self.memo[int(argument)])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_Mark)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name == "DICT":
            self._set_items({}, self._pop_to_mark())
        elif name == "SETITEM":
            pair = self._pop(2)
            self._set_items(stack.pop(), pair)
        elif name == "SETITEMS":
            items = self._pop_to_mark()
            self._set_items(stack.pop(), items)
        elif name == "GLOBAL":
            stack.append(self._admit(argument))
        elif name == "STACK_GLOBAL":
            stack.append(self._admit(" ".join(self._pop(2))))
        elif name == "REDUCE":
            called, arguments = self._pop(2)
            stack.append(self._reduce(called, arguments))
        elif name == "BUILD":
            self._build()
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._refuse(f"the instruction {name}")

    def result(self) -> dict[str, Value]:
        """What is left on the stack: the dictionary."""
        (value,) = self.stack
        if not isinstance(value, dict):
            self._refuse(f"a {type(value).__name__} instead of a dictionary")
        return value

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            message = "it takes more than there is"
            raise ValueError(message)
        start = len(self.stack) - count
        values = self.stack[start:]
        del self.stack[start:]
        if _Mark in values:
            message = "a mark is out of place"
            raise ValueError(message)
        return values

    def _pop_to_mark(self) -> list[Any]:
        place = len(self.stack) - 1 - self.stack[::-1].index(_Mark)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            self._refuse("items set on something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                self._refuse(f"a key of type {type(key).__name__}")
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                self._refuse(f"a value of type {type(value).__name__} for {key!r}")
            target[key] = value
        self.stack.append(target)

    def _admit(self, name: str) -> _Global:
        if name not in _SCALAR | _DTYPE | _ENCODE:
            self._refuse(f"the global {name.replace(' ', '.')}")
        return _Global(name)

    def _reduce(self, called: Any, arguments: Any) -> Any:
        name = called.name if isinstance(called, _Global) else ""
        if name in _DTYPE:
            code = str(arguments[0]).lstrip("<|=")
            if code not in _NUMBERS:
                self._refuse(f"the NumPy type {arguments[0]!r}")
            return _NumberType(code)
        if name in _SCALAR:
            number_type, data = arguments
            if not isinstance(number_type, _NumberType) or not isinstance(data, bytes):
                self._refuse("a NumPy scalar that is no number")
            return np.frombuffer(data, number_type.code, count=1)[0].item()
        if name in _ENCODE:
            text, encoding = arguments
            if not isinstance(text, str) or encoding != "latin1":
                self._refuse(f"a {type(text).__name__} in the encoding {encoding!r}")
            return text.encode("latin1")
        self._refuse(f"a call of a {type(called).__name__}")

    def _build(self) -> None:
        """Take the byte order of a NumPy type from its state: (version, order, ...)."""
        target, state = self._pop(2)
        if not isinstance(target, _NumberType):
            self._refuse(f"state for a {type(target).__name__}")
        if state[1] not in ("<", "|", "=", ">"):
            self._refuse(f"the byte order {state[1]!r}")
        target.code = (">" if state[1] == ">" else "<") + target.code
        self.stack.append(target)

    def _refuse(self, what: str) -> NoReturn:
        problem = f"{self.path} holds {what}; only dictionaries of strings and numbers are read"
        raise CheckpointError(
            problem, hint="do not trust this file: it is no Geneformer dictionary"
        )
