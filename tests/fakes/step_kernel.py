"""Fakes of the kernel of short steps and of the library's graph beside it.

A step of the fake kernel is the library's half-precision graph, bound only to the addresses and
sizes that the kernel is given. `tests/kernels/test_decoder_step.py` runs the kernel itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from c2t.kernels.decoder_step.launch import StepArguments, StepScratch
from c2t.kernels.decoder_step.layout import ROWS, StepLayout
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.runtime.engines.gpu.graph import DeviceTensor
from fakes.cuda_driver import STREAM, FakeBoundGraph, FakeDevice, FakeGraph, at


class StepDevice(FakeDevice):
    """A device that is new enough."""

    arch = "sm_80"


class LibraryGraph(FakeGraph):
    """The library's graph; `bound` are the shapes [B,T] that it was bound to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.bound: list[tuple[int, ...]] = []

    def bind(self, tensors: Mapping[str, DeviceTensor], *, repeated: bool) -> FakeBoundGraph:
        self.bound.append(tensors["inputs_embeds"].shape[:2])
        return super().bind(tensors, repeated=repeated)


class Library:
    """Opens the library's graph of a folder; `opened` are those that it has opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[LibraryGraph] = []

    def __call__(self) -> LibraryGraph:
        self.opened.append(LibraryGraph(self.folder / "decoder.onnx"))
        return self.opened[-1]


class FakeStepKernel:
    """Packs nothing, and runs steps as the half-precision graph of a folder.

    Attributes:
        packed: What it was given to pack.
        steps: The steps that were started, after those that it was compared by.
        checked: Tokens of the steps that it was compared by.
        error: Added to its logits.
    """

    def __init__(self, folder: Path) -> None:
        self.use(folder)
        self.packed: list[tuple[StepLayout, HostDecoder]] = []
        self.steps: list[StepArguments] = []
        self.checked: list[int] = []
        self.error = 0.0

    def use(self, folder: Path) -> None:
        """Run steps as another folder's graph."""
        self.graph = FakeGraph(folder / "decoder.onnx", recordable=True)

    def pack(self, device: FakeDevice, layout: StepLayout, decoder: HostDecoder) -> Any:
        self.packed.append((layout, decoder))
        self.checked.clear()
        return SimpleNamespace(sizes=layout.sizes, layout=layout)

    def start(
        self, device: FakeDevice, weights: Any, scratch: StepScratch, step: StepArguments
    ) -> None:
        """Start a step; it is bound when it runs, to the addresses of its arguments."""
        rows = scratch.residual.shape[0]
        assert step.batch * step.tokens <= rows
        assert scratch.residual.shape == (rows, weights.sizes.hidden_size)
        # Once in each size and, of one in int8, with a text in two parts.
        if len(self.checked) < 1 + ROWS.index(rows) + 2 * weights.layout.has_int8:
            self.checked.append(step.tokens)
        else:
            self.steps.append(step)
        STREAM.start(lambda: self._run(weights.sizes, step))

    def _run(self, sizes: StepSizes, step: StepArguments) -> None:
        rows, tokens, wanted = step.batch, step.tokens, step.logits_per_cell
        index = at(step.write_index, (rows,), "int64") + step.first_token
        length = index + tokens
        tensors = {
            "inputs_embeds": DeviceTensor(
                step.embeds, (rows, tokens, sizes.hidden_size), "float16"
            ),
            "position_ids": DeviceTensor(step.positions, (rows, tokens), "int64"),
            "write_index": DeviceTensor(index.ctypes.data, (rows,), "int64"),
            "kv_length": DeviceTensor(length.ctypes.data, (rows,), "int64"),
            "logit_rows": DeviceTensor(step.logit_rows, (rows, wanted), "int64"),
            "logits": DeviceTensor(step.logits, (rows, wanted, sizes.vocabulary_size), "float32"),
        }
        shape = (rows, sizes.kv_heads, step.capacity, sizes.head_size)
        for number in range(2 * sizes.layers):
            layer, part = divmod(number, 2)
            place = DeviceTensor(step.cache + 2 * number * step.cache_stride, shape, "float16")
            for when in ("past", "present"):
                tensors[f"{when}_{('key', 'value')[part]}.{layer}"] = place
        self.graph.bind(tensors, repeated=False).enqueue()
        at(step.logits, (rows, wanted, sizes.vocabulary_size), "float32")[...] += self.error
