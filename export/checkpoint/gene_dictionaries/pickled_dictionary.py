"""Reading Geneformer's pickled dictionaries without running them.

One decision: a pickle is a program, so it is not unpickled. A small stack machine follows the few
instructions that build a dictionary of strings and numbers (NumPy's scalars among them) and stops
at any other instruction. It never looks up or calls what the file names.

Small files can ask for much: values that hold each other twice, and again, and again. So there is a
budget of instructions, and everything but the dictionary is flat and short.
"""

import pickletools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import CheckpointError

# The largest published dictionary (V2's Ensembl mapping) has 4 MB and 173,697 entries.
MAX_BYTES = 64 << 20
# A dictionary takes about 4 instructions an entry, and about 2 microseconds each.
MAX_INSTRUCTIONS = 5_000_000
MAX_DICTIONARIES = 8  # one, and what a pickler may have put aside
TUPLE_LENGTH = 16  # the state of a NumPy type has 8 values
SCALAR_BYTES = 64  # of a NumPy number, and of its type's name
INTEGERS = range(-(1 << 63), 1 << 63)
SHOWN = 60  # characters of a value in an error's text

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
    """A NumPy number type, like "f8", and its byte order."""

    code: str
    order: str = "<"


def read_pickled_dictionary(path: Path) -> dict[str, Value]:
    """Read a pickled dictionary from strings to strings, integers or floats.

    Args:
        path: A pickle of any protocol, at most `MAX_BYTES` long.

    Returns:
        The dictionary; NumPy's scalars as plain numbers.

    Raises:
        CheckpointError: The file is missing, too long, damaged, or holds anything else.
    """
    content = read_bounded(
        path,
        bytes_max=MAX_BYTES,
        error=CheckpointError,
        hint="check that it is the path of a Geneformer dictionary",
    )
    machine = _Machine(path)
    try:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MAX_INSTRUCTIONS:
                machine.refuse(f"more than {MAX_INSTRUCTIONS:,} instructions")
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
    marks: list[int] = field(default_factory=list)  # where runs of values on the stack begin
    dictionaries: int = 0
    memo: dict[int, Any] = field(default_factory=dict)

    def follow(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        if name in _PUSH:
            if isinstance(argument, int) and argument not in INTEGERS:
                self.refuse("an integer of more than 64 bits")
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
            self.marks.append(len(stack))
        elif name == "EMPTY_DICT":
            stack.append(self._dictionary())
        elif name in _TUPLES:
            stack.append(self._tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(self._tuple(self._pop_to_mark()))
        elif name == "DICT":
            items = self._pop_to_mark()
            self._set_items(self._dictionary(), items)
        elif name == "SETITEM":
            target, *pair = self._pop(3)
            self._set_items(target, pair)
        elif name == "SETITEMS":
            items = self._pop_to_mark()
            self._set_items(self._pop(1)[0], items)
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
            self.refuse(f"the instruction {name}")

    def result(self) -> dict[str, Value]:
        """What is left on the stack: the dictionary."""
        (value,) = self.stack
        if not isinstance(value, dict):
            self.refuse(f"a {type(value).__name__} instead of a dictionary")
        return value

    def refuse(self, what: str) -> NoReturn:
        """Give up on a file that holds something else.

        Raises:
            CheckpointError: Always.
        """
        problem = f"{self.path} holds {what}; only dictionaries of strings and numbers are read"
        raise CheckpointError(
            problem, hint="do not trust this file: it is no Geneformer dictionary"
        )

    def _pop(self, count: int) -> list[Any]:
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            message = "it takes more than there is"
            raise ValueError(message)
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        return self._pop(len(self.stack) - self.marks.pop())

    def _dictionary(self) -> dict[str, Value]:
        self.dictionaries += 1
        if self.dictionaries > MAX_DICTIONARIES:
            self.refuse(f"more than {MAX_DICTIONARIES} dictionaries")
        return {}

    def _tuple(self, values: list[Any]) -> tuple[Any, ...]:
        """The arguments of a call or a state: nothing else that is read has a tuple in it."""
        if len(values) > TUPLE_LENGTH or any(isinstance(value, tuple | dict) for value in values):
            self.refuse("a tuple that is long or holds others")
        return tuple(values)

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            self.refuse("items set on something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                self.refuse(f"a key of type {type(key).__name__}")
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                self.refuse(f"a value of type {type(value).__name__} for {_shown(key)}")
            target[key] = value
        self.stack.append(target)

    def _admit(self, name: str) -> _Global:
        if name not in _SCALAR | _DTYPE | _ENCODE:
            self.refuse(f"the global {_shown(name.replace(' ', '.'))[1:-1]}")
        return _Global(name)

    def _reduce(self, called: Any, arguments: Any) -> Any:
        name = called.name if isinstance(called, _Global) else ""
        if not isinstance(arguments, tuple):
            self.refuse(f"a call with a {type(arguments).__name__}")
        if name in _DTYPE:
            code = arguments[0]
            if not isinstance(code, str) or code.lstrip("<|=") not in _NUMBERS:
                self.refuse(f"the NumPy type {_shown(code)}")
            return _NumberType(code.lstrip("<|="))
        if name in _SCALAR:
            number_type, data = arguments
            if not isinstance(number_type, _NumberType) or not isinstance(data, bytes):
                self.refuse("a NumPy scalar that is no number")
            return np.frombuffer(data, number_type.order + number_type.code, count=1)[0].item()
        if name in _ENCODE:
            text, encoding = arguments
            if not isinstance(text, str) or len(text) > SCALAR_BYTES or encoding != "latin1":
                self.refuse(f"a {type(text).__name__} in the encoding {_shown(encoding)}")
            return text.encode("latin1")
        self.refuse(f"a call of a {type(called).__name__}")

    def _build(self) -> None:
        """Take the byte order of a NumPy type from its state: (version, order, ...)."""
        target, state = self._pop(2)
        if not isinstance(target, _NumberType):
            self.refuse(f"state for a {type(target).__name__}")
        if state[1] not in ("<", "|", "=", ">"):
            self.refuse(f"the byte order {_shown(state[1])}")
        target.order = ">" if state[1] == ">" else "<"
        self.stack.append(target)


def _shown(value: object) -> str:
    """A value as an error's text shows it: not longer than a line."""
    if isinstance(value, str | bytes):
        return repr(value[:SHOWN])
    return repr(value) if isinstance(value, int | float | None) else type(value).__name__
