"""The decoder alone: a prompt, and steps of one and more tokens, beside peers and the floor.

The floor of a step is the time that the machine needs to read the decoder's weights once, measured
in the same rounds. No implementation can beat it for one cell without changing the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from c2t.runtime.bench.interleave import Times, interleave, median_ratio, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.worker import cache_capacity
from c2t.runtime.engine_protocol import DecoderEngine, EngineOptions, Float32
from c2t.runtime.engines.choose import choose_engines
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.system.errors import EngineError

# Largest |difference| / largest |logit| between two float32 implementations of one model.
TOLERANCE = 1e-3
DRAFTS = (4, 16)  # tokens of the steps that verify drafts


@dataclass(frozen=True, kw_only=True)
class DecoderBenchOptions:
    """How often the decoder is measured.

    Args:
        rounds: Timed runs of each kind.
        steps: Single steps timed in each round.
        seed: Seed of the cell vectors.
    """

    rounds: int = 7
    steps: int = 4
    seed: int = 0


class DecoderPeer(Protocol):
    """A decoder with a cache for one sequence."""

    @property
    def name(self) -> str:
        """Its name in a report."""
        ...

    @property
    def takes_vectors(self) -> bool:
        """Whether it can run cell vectors. One that cannot runs as many tokens, unchecked."""
        ...

    def prefill(self, prefix: Sequence[int], vectors: Float32, suffix: Sequence[int]) -> Float32:
        """Empty the cache and run a whole prompt; logits [V] of the first text token."""
        ...

    def step(self, tokens: Sequence[int]) -> Float32:
        """Run tokens behind the prompt; logits [V] after the last. The cache stays as it was."""
        ...


class OurDecoder:
    """This package's engine for one cell, with the prompt's prefix cached."""

    takes_vectors = True

    def __init__(
        self, bundle: Bundle, options: EngineOptions, name: str = "c2t", *, engine: str = "cpu"
    ) -> None:
        self.name = name
        manifest = bundle.manifest
        chosen = choose_engines(bundle, engine, options)
        self._decoder: DecoderEngine = chosen.engines.decoder
        self._prompts = bundle_prompts(bundle)
        self._runner = self._prompts.runner(self._decoder)
        self.prompt = manifest.prompt_length
        capacity = cache_capacity(manifest, manifest.generation)
        self._cache = self._decoder.new_cache(1, capacity)

    def prefill(self, prefix: Sequence[int], vectors: Float32, suffix: Sequence[int]) -> Float32:
        """Logits [V] of the first text token; runs the bundle's own prefix and suffix."""
        return self._runner.prefill(self._cache, 0, self._prompts.of_vectors(vectors))

    def step(self, tokens: Sequence[int]) -> Float32:
        """Run tokens behind the prompt, with the arg-max of each; logits [V] after the last."""
        count = len(tokens)
        step = self._decoder.bind(self._cache, (0, 1), count, count)
        step.token_ids[0] = tokens
        step.position_ids[0] = np.arange(self.prompt, self.prompt + count)
        step.write_index[0] = self.prompt
        step.logit_rows[0] = np.arange(count)
        logits = step.run()
        logits[0].argmax(axis=1)
        last: Float32 = logits[0, -1]
        return last


def bench_decoder(
    bundle: Bundle,
    ours: Sequence[OurDecoder],
    peers: Sequence[DecoderPeer],
    probe: SpeedProbe,
    options: DecoderBenchOptions,
) -> dict[str, Any]:
    """Check the contestants' logits, then measure prefill and steps.

    Args:
        bundle: The bundle that `ours` were opened from.
        ours: Ratios compare the others with the first of these.
        peers: Decoders of others, with the same weights.
        probe: Measures the machine in the same rounds.
        options: How often.

    Raises:
        EngineError: A contestant's logits differ from the first one's.
    """
    manifest = bundle.manifest
    prefix, suffix = manifest.prompt.prefix_ids, manifest.prompt.suffix_ids
    draw = np.random.default_rng(options.seed)
    shape = (manifest.projector.vectors, manifest.decoder.hidden_size)
    # As large as rows of a text table. The size of the values does not change the time.
    vectors = draw.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    tokens = draw.integers(0, manifest.decoder.vocabulary_size, max(DRAFTS)).tolist()
    contestants: list[DecoderPeer] = [*ours, *peers]
    for contestant in contestants:
        contestant.prefill(prefix, vectors, suffix)
    differences = _check(contestants, lambda c: c.prefill(prefix, vectors, suffix), "prefill")
    differences |= _check(contestants, lambda c: c.step(tokens[:1]), "step")
    differences |= _check(contestants, lambda c: c.step(tokens[: DRAFTS[0]]), "draft")

    prefills = interleave(
        {c.name: _run_prefill(c, prefix, vectors, suffix) for c in contestants}
        | {"gemm": probe.multiply},
        max(3, options.rounds // 2),
        warm_up=0,
    )
    singles = _time_steps(contestants, tokens[:1], probe, options.rounds * options.steps)
    drafts = {
        count: _time_steps(contestants, tokens[:count], probe, options.rounds) for count in DRAFTS
    }
    weights = bundle.manifest.files["decoder.onnx.data"].bytes
    first = ours[0].name
    return {
        "weight_bytes": weights,
        "prompt_tokens": ours[0].prompt,
        "prefix_tokens": len(prefix),
        "largest_logit_difference": differences,
        "prefill": _summary(prefills, first, skip="gemm"),
        "prefill_share_of_gemm": _share_of_gemm(bundle, weights, ours[0], prefills, probe),
        "step": _summary(singles, first, skip="read"),
        **_shares_of_floor(weights, singles, probe),
        "drafts": {
            str(count): {
                **_summary(times, first, skip="read"),
                "of_single_steps": float(np.median(times[first]) / np.median(singles[first])),
            }
            for count, times in drafts.items()
        },
    }


def _share_of_gemm(
    bundle: Bundle, weights: int, ours: OurDecoder, prefills: Times, probe: SpeedProbe
) -> float | None:
    """The prefill's float32 operations as a share of the machine's rate; None of an INT8 bundle."""
    manifest = bundle.manifest
    if manifest.precision != "fp32":
        return None
    new_tokens = ours.prompt - len(manifest.prompt.prefix_ids)
    # Logits are computed for the last token only.
    lm_head = manifest.decoder.vocabulary_size * manifest.decoder.hidden_size
    operations = 2.0 * new_tokens * (weights / 4 - lm_head)
    best = [operations / probe.flops_per_second(seconds) for seconds in prefills["gemm"]]
    return median_ratio(best, prefills[ours.name])


def _shares_of_floor(weights: int, singles: Times, probe: SpeedProbe) -> dict[str, Any]:
    """The floor, and each contestant's single steps as shares of it."""
    floor = [weights / probe.bytes_per_second(seconds) for seconds in singles["read"]]
    names = [name for name in singles if name != "read"]
    return {
        "read_bytes_per_second": weights / float(np.median(floor)),
        "step_share_of_floor": {name: median_ratio(floor, singles[name]) for name in names},
        # By the fastest reading of all rounds too: memory is not equally fast at all times.
        "best_read_bytes_per_second": weights / min(floor),
        "step_share_of_best_read": {
            name: min(floor) / float(np.median(singles[name])) for name in names
        },
    }


def _run_prefill(
    contestant: DecoderPeer, prefix: Sequence[int], vectors: Float32, suffix: Sequence[int]
) -> Callable[[], Any]:
    return lambda: contestant.prefill(prefix, vectors, suffix)


def _time_steps(
    contestants: Sequence[DecoderPeer], tokens: list[int], probe: SpeedProbe, rounds: int
) -> Times:
    def run_step(contestant: DecoderPeer) -> Callable[[], Any]:
        return lambda: contestant.step(tokens)

    return interleave({c.name: run_step(c) for c in contestants} | {"read": probe.read}, rounds)


def _summary(times: Times, first: str, *, skip: str) -> dict[str, Any]:
    names = [name for name in times if name != skip]
    return {
        "seconds": {name: asdict(spread(times[name])) for name in names},
        "times_faster_than": {
            name: median_ratio(times[name], times[first]) for name in names if name != first
        },
    }


def _check(
    contestants: Sequence[DecoderPeer], run: Callable[[DecoderPeer], Float32], what: str
) -> dict[str, float]:
    """Largest differences from the first contestant's logits, over its largest logit.

    Raises:
        EngineError: One is above `TOLERANCE`.
    """
    expected = np.array(run(contestants[0]))
    size = np.abs(expected).max()
    differences = {}
    for contestant in contestants[1:]:
        if not contestant.takes_vectors:
            continue
        difference = float(np.abs(run(contestant) - expected).max() / size)
        differences[f"{contestant.name}, {what}"] = difference
        if not difference <= TOLERANCE:
            problem = f"logits of {contestant.name} ({what}) differ by {difference:.1e} of {size}"
            raise EngineError(problem, hint="is it the checkpoint that the bundle was made from?")
    return differences
