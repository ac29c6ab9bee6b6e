"""Describe cells through libc2t with ctypes alone.

Usage: describe.py bundle|socket PATH TABLE

The table has lines "cell <tab> gene <tab> count"; the lines of a cell stand together. Python
programs have `import c2t`; this shows what a binder of another language does.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_size_t, c_void_p
from pathlib import Path

ABI = 1
STREAM = ctypes.CFUNCTYPE(c_int32, c_void_p, c_size_t, c_size_t, c_char_p, c_int32)
USAGE = "describe.py bundle|socket PATH TABLE"
if len(sys.argv) != 4 or sys.argv[1] not in ("bundle", "socket"):
    print(f"error: wrong arguments\nhint: {USAGE}", file=sys.stderr)
    sys.exit(2)
try:
    library = ctypes.CDLL(os.environ.get("LIBC2T", "libc2t.so.1"))
except OSError as error:
    sys.exit(f"error: cannot load libc2t: {error}\nhint: set LIBC2T to its path")

HANDLE = POINTER(c_void_p)
SIGNATURES = {
    "c2t_abi_version": (c_int32,),
    "c2t_last_problem": (c_char_p,),
    "c2t_last_hint": (c_char_p,),
    "c2t_options_new": (c_int32, HANDLE),
    "c2t_options_set": (c_int32, c_void_p, c_char_p, c_char_p),
    "c2t_options_free": (None, c_void_p),
    "c2t_open": (c_int32, c_void_p, HANDLE),
    "c2t_close": (c_int32, c_void_p),
    "c2t_request_new": (c_int32, HANDLE),
    "c2t_request_add_cell": (c_int32, c_void_p, c_char_p),
    "c2t_request_add_genes": (c_int32, c_void_p, POINTER(c_char_p), POINTER(c_double), c_size_t),
    "c2t_request_free": (None, c_void_p),
    "c2t_describe": (c_int32, c_void_p, c_void_p, STREAM, c_void_p, HANDLE),
    "c2t_result_cells": (c_size_t, c_void_p),
    "c2t_result_id": (c_char_p, c_void_p, c_size_t),
    "c2t_result_text": (c_char_p, c_void_p, c_size_t),
    "c2t_result_error": (c_char_p, c_void_p, c_size_t),
    "c2t_result_free": (None, c_void_p),
}
for name, (kind, *arguments) in SIGNATURES.items():
    getattr(library, name).restype = kind
    getattr(library, name).argtypes = arguments


def check(code: int) -> None:
    """Turn a code into an exit of two lines."""
    if code != 0:
        problem, hint = library.c2t_last_problem(), library.c2t_last_hint()
        sys.exit(f"error: {problem.decode()}\nhint: {hint.decode()}")


def show(user: int | None, cell: int, start: int, text: bytes | None, finished: int) -> int:
    """Show texts while they are written; anything but 0 would stop the request."""
    words = "(no text)" if text is None else text.decode()
    print(f"{cell}{'.' if finished else ':'} {words}", file=sys.stderr)
    return 0


def read_lines(table: str) -> list[str]:
    """The lines of a table."""
    try:
        return Path(table).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: cannot read {table}: {error}\nhint: give a text file in UTF-8")


def main() -> None:
    """Describe the cells of a table."""
    kind, path, table = sys.argv[1:]
    if library.c2t_abi_version() != ABI:
        sys.exit("error: libc2t is of another version than this example")
    cells: dict[str, dict[str, float]] = {}
    for number, line in enumerate(read_lines(table), 1):
        try:
            cell, gene, count = line.split("\t")
            cells.setdefault(cell, {})[gene] = float(count)
        except ValueError:
            hint = "it has a cell, a gene and a count, with tabs between"
            sys.exit(f"error: line {number} of {table} is {line[:60]!r}\nhint: {hint}")

    stream = STREAM(show)  # it must live as long as a call uses it
    options, service, request, result = c_void_p(), c_void_p(), c_void_p(), c_void_p()
    check(library.c2t_options_new(byref(options)))
    check(library.c2t_options_set(options, kind.encode(), path.encode()))
    if "C2T_COMMAND" in os.environ:  # where c2t is not in PATH
        command = os.environ["C2T_COMMAND"]
        check(library.c2t_options_set(options, b"command", command.encode()))
    check(library.c2t_open(options, byref(service)))
    check(library.c2t_request_new(byref(request)))
    for cell, counts in cells.items():
        genes = (c_char_p * len(counts))(*(gene.encode() for gene in counts))
        values = (c_double * len(counts))(*counts.values())
        check(library.c2t_request_add_cell(request, cell.encode()))
        check(library.c2t_request_add_genes(request, genes, values, len(counts)))
    check(library.c2t_describe(service, request, stream, None, byref(result)))
    for place in range(library.c2t_result_cells(result)):
        name = library.c2t_result_id(result, place)
        text = library.c2t_result_text(result, place) or library.c2t_result_error(result, place)
        sys.stdout.buffer.write(name + b"\t" + text + b"\n")
    library.c2t_result_free(result)
    library.c2t_request_free(request)
    library.c2t_options_free(options)
    check(library.c2t_close(service))


if __name__ == "__main__":
    main()
