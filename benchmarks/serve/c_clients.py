"""Clients that use the C library, through ctypes, on the socket of a running service."""

from __future__ import annotations

import ctypes
import json
import math
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

from .cells import Cells
from .tally import Tally

CAPI = Path(__file__).parents[2] / "capi"
CANCELLED, CELLS, OVERLOADED = -7, -8, -9


def build_library(folder: Path) -> ctypes.CDLL:
    """Compile the library and open it."""
    path = folder / "libc2t.so.1"
    sources = sorted(map(str, (CAPI / "src").rglob("*.c")))
    command = ["cc", "-std=c11", "-O2", "-fPIC", "-shared", "-DC2T_BUILD", f"-I{CAPI}"]
    subprocess.run([*command, *sources, "-o", str(path), "-pthread", "-lm"], check=True)
    library = ctypes.CDLL(str(path))
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("c2t_last_problem", text, []),
        ("c2t_last_hint", text, []),
        ("c2t_options_new", ctypes.c_int32, [handle]),
        ("c2t_options_set", ctypes.c_int32, [handle, text, text]),
        ("c2t_options_free", None, [handle]),
        ("c2t_open", ctypes.c_int32, [handle, handle]),
        ("c2t_close", ctypes.c_int32, [handle]),
        ("c2t_request_new", ctypes.c_int32, [handle]),
        ("c2t_request_add_cell", ctypes.c_int32, [handle, text]),
        ("c2t_request_add_gene", ctypes.c_int32, [handle, text, ctypes.c_double]),
        ("c2t_request_free", None, [handle]),
        ("c2t_describe", ctypes.c_int32, [handle, handle, handle, handle, handle]),
        ("c2t_result_cells", number, [handle]),
        ("c2t_result_id", text, [handle, number]),
        ("c2t_result_text", text, [handle, number]),
        ("c2t_result_error", text, [handle, number]),
        ("c2t_result_confidence", ctypes.c_double, [handle, number]),
        ("c2t_result_cell_type_confidence", ctypes.c_double, [handle, number]),
        ("c2t_result_genes_used", ctypes.c_int64, [handle, number]),
        ("c2t_result_free", None, [handle]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class CClient:
    """One program that uses the library.

    Args:
        library: See `build_library`.
        path: The socket.
        cells: What to describe.
        tally: Counts what happened.
        seed: Of its choices.
    """

    def __init__(
        self, library: ctypes.CDLL, path: Path, cells: Cells, *, tally: Tally, seed: int
    ) -> None:
        self._c2t, self._path = library, str(path).encode()
        self._cells, self._tally = cells, tally
        self._draw = random.Random(300 + seed)

    def run(self, stop: threading.Event) -> None:
        """Describe until told to stop, now and then with a new handle."""
        while not stop.is_set():
            service = self._open()
            for _ in range(50):
                if stop.is_set():
                    break
                try:
                    self._describe(service)
                except AssertionError as error:
                    self._tally.failed("c describe", error)
            self._c2t.c2t_close(service)

    def _open(self) -> ctypes.c_void_p:
        options, service = ctypes.c_void_p(), ctypes.c_void_p()
        self._right(self._c2t.c2t_options_new(ctypes.byref(options)))
        self._right(self._c2t.c2t_options_set(options, b"socket", self._path))
        self._right(self._c2t.c2t_open(options, ctypes.byref(service)))
        self._c2t.c2t_options_free(options)
        return service

    def _describe(self, service: ctypes.c_void_p) -> None:
        request, result = ctypes.c_void_p(), ctypes.c_void_p()
        self._right(self._c2t.c2t_request_new(ctypes.byref(request)))
        mistake = self._draw.random() < 0.1
        chosen = self._draw.sample(self._cells.counted, self._draw.choice((1, 2, 4)))
        if mistake:
            chosen = [{"id": "x", "counts": {"no such gene": 1.0}}]
        for cell in chosen:
            self._right(self._c2t.c2t_request_add_cell(request, cell["id"].encode()))
            for gene, count in cell["counts"].items():
                self._right(self._c2t.c2t_request_add_gene(request, gene.encode(), count))
        code = self._c2t.c2t_describe(service, request, None, None, ctypes.byref(result))
        self._c2t.c2t_request_free(request)
        if code:
            self._tally.saw("c describe", code)
            assert code in ((CELLS,) if mistake else (OVERLOADED,)), self._problem()
            assert self._c2t.c2t_last_problem()
            assert self._c2t.c2t_last_hint()
            return
        found = [self._result(result, cell) for cell in range(self._c2t.c2t_result_cells(result))]
        self._c2t.c2t_result_free(result)
        wrong = self._cells.wrong(found) + (len(found) != len(chosen))
        self._tally.saw("c describe", "answered", cells=len(found), wrong=wrong)

    def _result(self, result: ctypes.c_void_p, cell: int) -> dict[str, Any]:
        def text(name: str) -> str | None:
            value = getattr(self._c2t, f"c2t_result_{name}")(result, cell)
            return None if value is None else value.decode()

        def number(name: str) -> float | None:
            value = getattr(self._c2t, f"c2t_result_{name}")(result, cell)
            return None if math.isnan(value) else value

        return {
            "cell": text("id"),
            "text": text("text"),
            "confidence": number("confidence"),
            "cell_type_confidence": number("cell_type_confidence"),
            "genes_used": self._c2t.c2t_result_genes_used(result, cell),
            "error": text("error"),
        }

    def _right(self, code: int) -> None:
        assert code == 0, self._problem()

    def _problem(self) -> str:
        lines = (self._c2t.c2t_last_problem(), self._c2t.c2t_last_hint())
        return json.dumps([line.decode() for line in lines])
