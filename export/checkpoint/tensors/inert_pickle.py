"""A pickle followed as data: nothing that it names is looked up, called or built.

One decision: only what makes tensors means something here. Every other object of Python, such as
the configs that training scripts put beside their weights, becomes an `Inert` that holds nothing.
So a file may hold whatever its training run knew, and none of it can run.

Sources: PEP 307 and 3154 (the protocol), `torch.save` (storages are persistent ids),
`torch._utils._rebuild_tensor_v2`.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

INSTRUCTIONS_MAX = 5_000_000  # an optimiser's state of 500 tensors has some 50,000
NAME_LETTERS_MAX = 1000
DIMENSIONS_MAX = 64  # PyTorch's own limit
NUMBER_MAX = (1 << 63) - 1

_PUSH = {
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8", "BYTEARRAY8", "SHORT_BINSTRING", "BINSTRING", "STRING", "BININT", "BININT1",
    "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GET = {"BINGET", "LONG_BINGET", "GET"}
_PUT = {"BINPUT", "LONG_BINPUT", "PUT"}
_TENSORS = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"}
_PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_DICTIONARIES = {"collections.OrderedDict"}
# A tuple as a key could hold tuples that hold others: hashing it would take for ever.
_KEYS = (str, int, float, bool, type(None))


class PickleError(ValueError):
    """The bytes are no pickle, or one of a form that is not followed."""


@dataclass(frozen=True)
class Name:
    """A name that the pickle mentions, like "torch.FloatStorage"; never looked up."""

    text: str


@dataclass(frozen=True, eq=False)
class Inert:
    """An object of Python that was not made; `name` says of what kind."""

    name: str


@dataclass(frozen=True, eq=False)
class StorageReference:
    """Where the numbers of a tensor lie: what `torch.save` writes as a persistent id."""

    kind: str  # "torch.FloatStorage"
    key: str
    numel: int


@dataclass(frozen=True, eq=False)
class TensorReference:
    """A tensor that was not made: a view of a storage, counted in elements."""

    storage: StorageReference
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class _Machine:
    """The stack and the memo of the pickle protocol."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # of objects that were not made

    def follow(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSH:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _PUT:
            self.memo[int(argument)] = stack[-1]
        elif name in _GET:
            stack.append(self.memo[int(argument)])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in ("EMPTY_SET", "FROZENSET"):
            if name == "FROZENSET":
                self._pop_to_mark()
            stack.append(Inert("set"))
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name == "LIST":
            stack.append(self._pop_to_mark())
        elif name == "DICT":
            items = self._pop_to_mark()
            stack.append({})
            _set_items(stack[-1], items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop(2) if name == "SETITEM" else self._pop_to_mark()
            _set_items(stack[-1], items)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = self._pop(1) if name == "APPEND" else self._pop_to_mark()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif name == "POP":
            self._pop(1)
        elif name == "POP_MARK":
            self._pop_to_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            self._follow_object(name, argument)

    def _follow_object(self, name: str, argument: Any) -> None:
        """Follow what would make an object."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(Name(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            stack.append(_name(*self._pop(2)))
        elif name == "BINPERSID":
            stack.append(_storage(self._pop(1)[0]))
        elif name == "REDUCE":
            called, arguments = self._pop(2)
            stack.append(self._reduce(called, arguments))
        elif name in ("NEWOBJ", "NEWOBJ_EX"):
            stack.append(self._inert(self._pop(2 if name == "NEWOBJ" else 3)[0]))
        elif name in ("OBJ", "INST"):
            held = self._pop_to_mark()
            named = Name(argument.replace(" ", ".")) if name == "INST" else held[0]
            stack.append(self._inert(named))
        elif name == "BUILD":
            self._pop(1)  # the state: of a state dict's metadata, or of an object that is not made
        elif name not in ("PROTO", "FRAME", "STOP"):
            message = f"it has the instruction {name}"
            raise PickleError(message)

    def _reduce(self, called: Any, arguments: Any) -> Any:
        name = called.text if isinstance(called, Name) else ""
        if name in _TENSORS:
            return _tensor(arguments)
        if name in _PARAMETERS and isinstance(arguments, tuple) and arguments:
            return arguments[0]
        if name in _DICTIONARIES and arguments == ():
            return {}
        return self._inert(called)

    def _inert(self, kind: Any) -> Inert:
        name = kind.text if isinstance(kind, Name) else type(kind).__name__
        self.names.add(name)
        return Inert(name)

    def _pop(self, count: int) -> list[Any]:
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            message = "it takes more than there is"
            raise PickleError(message)
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        return self._pop(len(self.stack) - self.marks.pop())


def read_inert(content: bytes) -> tuple[Any, frozenset[str]]:
    """Follow a pickle.

    Args:
        content: A pickle of any protocol.

    Returns:
        What it holds: dictionaries, lists, tuples, strings, numbers, `TensorReference` and `Inert`;
        and the names of the kinds of objects that were not made. Entries of dictionaries whose key
        is neither a string nor a number are left out.

    Raises:
        PickleError: It is damaged, has too many instructions, or one that is not followed.
    """
    machine = _Machine()
    try:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if number >= INSTRUCTIONS_MAX:
                message = f"it has more than {INSTRUCTIONS_MAX:,} instructions"
                raise PickleError(message)
            machine.follow(instruction.name, argument)
        (value,) = machine.stack
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, PickleError):
            raise
        message = f"it is damaged or no pickle ({error})"
        raise PickleError(message) from error
    return value, frozenset(machine.names)


def _set_items(target: Any, items: list[Any]) -> None:
    """Set entries of a dictionary; those of an object that was not made are dropped."""
    if not isinstance(target, dict):
        return
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, _KEYS):
            target[key] = value


def _name(module: Any, name: Any) -> Name:
    """The name of an object in a module.

    Only short strings are joined: a tuple may hold itself many times over, and a long string that
    is kept once would be copied by every name that is made of it.
    """
    if not (isinstance(module, str) and isinstance(name, str)):
        message = "it names an object by something else than text"
        raise PickleError(message)
    if len(module) + len(name) > NAME_LETTERS_MAX:
        message = f"it has a name of {len(module) + len(name):,} letters"
        raise PickleError(message)
    return Name(f"{module}.{name}")


def _storage(reference: Any) -> StorageReference:
    match reference:
        case ("storage", Name(kind), str(key), str(), int(numel)) if numel >= 0:
            return StorageReference(kind, key, numel)
    message = "it has a persistent id that is no storage of a tensor"
    raise PickleError(message)


def _tensor(arguments: Any) -> TensorReference:
    match arguments:
        case (StorageReference() as storage, int(offset), tuple(size), tuple(stride), *_):
            numbers = (offset, *size, *stride)
            fit = all(type(n) is int and 0 <= n <= NUMBER_MAX for n in numbers)
            if len(size) == len(stride) <= DIMENSIONS_MAX and fit:
                return TensorReference(storage, offset, size, stride)
    message = "it has a tensor without a storage, an offset, a shape and strides"
    raise PickleError(message)
