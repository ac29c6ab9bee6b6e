"""The decoder graph compared with PyTorch: prefill, prefix then suffix, steps, a ragged batch.

One decision: the caches start full of rubbish and are bound in place, as a runtime does. So a graph
is caught that reads a cache position it should not read, or writes to a wrong one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from c2t.export.decoders.families import decoder_family
from c2t.export.parity.result import ParityResult, compare
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.system.progress import Advance

# Text tokens after the prompt: single steps, and one of several tokens.
STEPS = (1, 1, 4)
# Large enough to change an output that it gets into. Finite, because attention multiplies masked
# values by 0, and 0 * NaN is NaN.
RUBBISH = 50.0
CASES = ("prompt", "prefix, suffix", "from one token", "ragged batch")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """PyTorch's answer for one sequence of T rows.

    Logits are computed when they are compared: [T, V] would be a large part of a gigabyte.
    """

    embeddings: np.ndarray
    hidden: torch.Tensor  # [T, D]
    caches: dict[str, np.ndarray]  # "key.0", "value.0", ...: [KV, T, head_size]


def check_decoder(
    decoder: PreTrainedModel,
    path: Path,
    prompts: Sequence[torch.Tensor],
    *,
    prefix: int,
    options: EngineOptions,
    advance: Advance,
) -> Iterator[ParityResult]:
    """Compare the decoder graph with PyTorch.

    Args:
        decoder: The model that the graph was made from.
        path: `decoder.onnx`.
        prompts: Input rows [T, D] of the prompts of two cells, of different T where there are such.
        prefix: Rows that all prompts begin with.
        options: How to open the graph.
        advance: Called after each of the `CASES`.

    Yields:
        One result for every output of every case.
    """
    graph = _Decoder(path, decoder, options)
    followed = [torch.cat([rows, _following(decoder)]) for rows in prompts]
    # All prompts may have one length: the ragged batch then cuts one of them.
    if len({len(rows) for rows in followed}) == 1:
        followed[-1] = followed[-1][: max(sum(STEPS) + 1, 2 * len(followed[-1]) // 3)]
    expected = [_expected(decoder, rows) for rows in followed]
    length = len(followed[0]) - sum(STEPS)
    prefix = max(1, min(prefix, length - 1))
    steps = [(step,) for step in STEPS]
    ragged = [tuple(len(rows) - sum(STEPS) for rows in followed), *((n, n) for n in STEPS)]
    ways: dict[str, tuple[Sequence[Expected], Sequence[tuple[int, ...]]]] = {
        "prompt": (expected[:1], [(length,), *steps]),
        "prefix, suffix": (expected[:1], [(prefix,), (length - prefix,)]),
        "from one token": (expected[:1], [(1,), (1,), (2,)]),
        "ragged batch": (expected, ragged),
    }
    for case in CASES:
        rows, sizes = ways[case]
        if case != "prefix, suffix" or length > prefix:
            yield from graph.follow(rows, sizes, case)
        advance(1)


def _following(decoder: PreTrainedModel) -> torch.Tensor:
    """As many text tokens as the steps take, as input rows: [T, D]."""
    vocabulary = int(decoder.config.vocab_size)
    tokens = [(7919 * (index + 1)) % vocabulary for index in range(sum(STEPS))]
    rows: torch.Tensor = decoder.get_input_embeddings()(torch.tensor(tokens))
    return rows


def _expected(decoder: PreTrainedModel, rows: torch.Tensor) -> Expected:
    # A cache without a config keeps all positions, of layers with a sliding window, too.
    cache = DynamicCache()
    result = decoder.base_model(inputs_embeds=rows[None], past_key_values=cache, use_cache=True)
    caches = {}
    for index, layer in enumerate(result.past_key_values.layers):
        caches[f"key.{index}"] = layer.keys[0].numpy()
        caches[f"value.{index}"] = layer.values[0].numpy()
    return Expected(embeddings=rows.numpy(), hidden=result.last_hidden_state[0], caches=caches)


class _Decoder:
    """The graph with caches bound in place."""

    def __init__(self, path: Path, decoder: PreTrainedModel, options: EngineOptions) -> None:
        self._session = open_session(path, options)
        self._decoder = decoder
        self._logits = decoder_family(decoder.config.model_type).logits
        # "key.0", "value.0", ... -> heads and size of a head, from [B, KV, C, head_size]
        self._caches = {
            entry.name.removeprefix("past_"): (entry.shape[1], entry.shape[3])
            for entry in self._session.get_inputs()
            if entry.name.startswith("past_")
        }

    def follow(
        self, expected: Sequence[Expected], steps: Sequence[tuple[int, ...]], case: str
    ) -> Iterator[ParityResult]:
        """Feed the sequences in steps; compare logits after each, and the caches at the end.

        Args:
            expected: One for each row of the batch.
            steps: How many rows each sequence gets; shorter ones are padded on the right.
            case: The name of the case.
        """
        written = [0] * len(expected)
        capacity = max(len(rows.embeddings) for rows in expected) + max(steps[0])
        ort = load_onnxruntime()
        caches = {
            name: ort.OrtValue.ortvalue_from_numpy(
                np.full((len(expected), heads, capacity, size), RUBBISH, np.float32)
            )
            for name, (heads, size) in self._caches.items()
        }
        for step in steps:
            logits = self._run(expected, written, step, caches)
            for row, (answer, start, count) in enumerate(zip(expected, written, step, strict=True)):
                wanted = _wanted(count, max(step))[: min(count, 3)]
                yield compare(
                    logits[row, : len(wanted)],
                    self._logits(self._decoder, answer.hidden[start + wanted]).numpy(),
                    graph="decoder",
                    name="logits",
                    case=f"{case}: cell {row}, {count} rows after {start}",
                )
                written[row] = start + count
        for name, cache in caches.items():
            values = cache.numpy()
            for row, answer in enumerate(expected):
                part, layer = name.split(".")
                yield compare(
                    values[row, :, : written[row]],
                    answer.caches[name][:, : written[row]],
                    graph="decoder",
                    name=f"present_{part}.{layer}",
                    case=f"{case}: cell {row}, {written[row]} rows",
                )

    def _run(
        self,
        expected: Sequence[Expected],
        written: Sequence[int],
        step: tuple[int, ...],
        caches: dict[str, Any],  # OrtValues, written in place
    ) -> np.ndarray:
        rows, hidden_size = max(step), expected[0].embeddings.shape[1]
        embeddings = np.full((len(step), rows, hidden_size), RUBBISH, np.float32)
        for row, (answer, start, count) in enumerate(zip(expected, written, step, strict=True)):
            embeddings[row, :count] = answer.embeddings[start : start + count]
        index = np.array(written, np.int64)
        inputs = {
            "inputs_embeds": embeddings,
            "position_ids": index[:, None] + np.arange(rows),
            "write_index": index,
            "kv_length": index + rows,
            "logit_rows": np.stack([_wanted(count, rows) for count in step]),
        }
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output("logits")
        for name, cache in caches.items():
            binding.bind_ortvalue_input(f"past_{name}", cache)
            binding.bind_ortvalue_output(f"present_{name}", cache)
        self._session.run_with_iobinding(binding)
        logits: np.ndarray = binding.get_outputs()[0].numpy()
        return logits


def _wanted(count: int, rows: int) -> np.ndarray:
    """Three of `count` rows to ask logits for: first, middle, last; fewer if T is less."""
    wanted = np.array([0, count // 2, count - 1] if count > 2 else range(count), np.int64)
    return np.resize(wanted, min(rows, 3))
