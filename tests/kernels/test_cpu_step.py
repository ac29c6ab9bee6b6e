"""The CPU's step against its definition, whatever its sizes, rows and threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest
from step_decoders import FORMS, random_decoder
from tolerance import FLOAT32, worst_difference

from c2t.kernels.decoder_step import cpu
from c2t.kernels.decoder_step.cpu import (
    MAX_ROWS,
    CpuDecoderStep,
    SharedPrefix,
    step_kernels,
)
from c2t.kernels.decoder_step.definition import decoder_step_reference
from c2t.kernels.decoder_step.packed_decoder import PackedDecoder, sizes_problem
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.kernels.errors import KernelError
from c2t.kernels.linears.matrix import Int8Matrix

KERNELS = step_kernels()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="no step of ours runs on this processor")
CAPACITY = 140
# Mean difference: in int8 a float that is rounded otherwise moves an activation by a whole step.
INT8 = 0.01


def sizes(**others: int) -> StepSizes:
    usual = {"layers": 2, "hidden_size": 128, "intermediate_size": 160, "heads": 4, "kv_heads": 2}
    return StepSizes(**usual | {"head_size": 32, "vocabulary_size": 200} | others)


ODD = sizes(hidden_size=30, intermediate_size=37, heads=6, kv_heads=2, head_size=6)
ALL_SIZES = {
    "usual": sizes(),
    "odd": ODD,
    "one KV head": sizes(layers=1, heads=5, kv_heads=1, head_size=64, vocabulary_size=65),
    "own KV heads": sizes(layers=1, heads=2, kv_heads=2, head_size=20, intermediate_size=700),
    "small": sizes(layers=1, hidden_size=2, intermediate_size=1, heads=1, kv_heads=1, head_size=2),
}


class Run:
    """A step of a random decoder, with a cache of three batch rows."""

    def __init__(
        self, of: StepSizes, precision: str, threads: int = 2, form: Collection[str] = ()
    ) -> None:
        self.sizes = of
        self.decoder = random_decoder(of, precision, form=form)
        self.packed = PackedDecoder(KERNELS, of, self.decoder, threads=2)
        self.step = CpuDecoderStep(self.packed, threads=threads)
        self.cache = self.new_cache()

    def new_cache(self) -> np.ndarray:
        shape = (self.sizes.layers, 2, 3, self.sizes.kv_heads, CAPACITY, self.sizes.head_size)
        return np.zeros(shape, np.float32)

    def __call__(
        self,
        embeds: np.ndarray,
        at: list[int],
        logit_rows: np.ndarray | None = None,
        first: int = 0,
    ) -> np.ndarray:
        """Logits of tokens [B, T, D] at cache positions [B]."""
        inputs = arguments(embeds, at, logit_rows)
        shape = (*inputs["logit_rows"].shape, self.sizes.vocabulary_size)
        logits = np.full(shape, np.inf, np.float32)
        self.step.run(embeds, self.cache, logits, **inputs, first=first)
        return logits


def arguments(
    embeds: np.ndarray, at: list[int], logit_rows: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    batch, tokens, _ = embeds.shape
    if logit_rows is None:
        logit_rows = np.tile(np.arange(tokens), (batch, 1))
    write_index = np.array(at)
    positions = write_index[:, None] + np.arange(tokens)
    return {"positions": positions, "write_index": write_index, "logit_rows": logit_rows}


def drawn(of: StepSizes, *shape: int, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(*shape, of.hidden_size)).astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "int8", "mixed"])
@pytest.mark.parametrize("of", ALL_SIZES.values(), ids=ALL_SIZES)
def test_agrees_with_the_definition(of: StepSizes, precision: str) -> None:
    check_against_the_definition(Run(of, precision), precision)


@pytest.mark.parametrize("precision", ["float32", "int8", "mixed"])
@pytest.mark.parametrize("of", [sizes(), ODD], ids=["usual", "odd"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_decoder_of_every_form_agrees(
    of: StepSizes, form: tuple[str, ...], precision: str
) -> None:
    check_against_the_definition(Run(of, precision, form=form), precision)


def check_against_the_definition(run: Run, precision: str) -> None:
    """In steps of one and of several tokens, with windows that are full and not."""
    of, cache = run.sizes, run.new_cache()
    at = [3, 0]  # of two cells behind the first batch row
    for number, tokens in enumerate((1, 5, 16, 90)):
        embeds = drawn(of, 2, tokens, seed=number)
        expected = decoder_step_reference(
            of, run.decoder, embeds, cache[:, :, 1:], **arguments(embeds, at)
        )
        found = run(embeds, at, first=1)
        if precision == "float32":
            assert worst_difference(found, expected) <= 10 * FLOAT32
            assert worst_difference(run.cache, cache) <= 10 * FLOAT32
        else:
            assert np.abs(found - expected).mean() <= INT8 * np.abs(expected).mean()
            assert np.abs(run.cache - cache).mean() <= INT8 * np.abs(cache).mean()
        at = [place + tokens for place in at]
    assert not run.cache[:, :, 0].any()  # nobody's batch row


@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 64, 515, 1100])
@pytest.mark.parametrize("outputs", [1, 64, 129])
def test_integer_sums_are_exact(inputs: int, outputs: int) -> None:
    """Bit for bit, with weights and activations at both ends of int8."""
    of = sizes(layers=0, hidden_size=inputs, vocabulary_size=outputs)
    draw = np.random.default_rng(inputs)
    steps = draw.integers(-140, 140, inputs).astype(np.float32)  # some are out of range
    weights = draw.choice(np.array([-128, -127, -1, 0, 1, 126, 127], np.int8), (outputs, inputs))
    scales = draw.uniform(0.001, 0.1, outputs).astype(np.float32)
    lm_head = Int8Matrix(values=weights, scales=scales, input_scale=0.5)
    nothing = np.zeros((1, of.head_size // 2), np.float32)
    decoder = HostDecoder(
        layers=[],
        norm=steps / 2,
        lm_head=lm_head,
        cosines=nothing,
        sines=nothing,
        epsilon=0,
        scale=1,
    )
    step = CpuDecoderStep(PackedDecoder(KERNELS, of, decoder), threads=2)
    for rows in (1, 2, 7, MAX_ROWS):
        # The norm of such rows is exactly one.
        embeds = draw.choice(np.array([-1, 1], np.float32), (1, rows, inputs))
        inner = np.clip(embeds * steps, -128, 127).astype(np.int64) @ weights.T.astype(np.int64)
        logits = np.empty((1, rows, outputs), np.float32)
        cache = np.zeros((1, 2, 1, of.kv_heads, rows, of.head_size), np.float32)
        step.run(embeds, cache, logits, **arguments(embeds, [0]))
        np.testing.assert_array_equal(logits, inner.astype(np.float32) * (np.float32(0.5) * scales))


@pytest.mark.parametrize("part", [MAX_ROWS, 32, 7])
@pytest.mark.parametrize("precision", ["float32", "int8", "mixed"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2"])
def test_neither_other_rows_nor_threads_change_a_bit(
    family: str, precision: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor into how many native calls a step is cut."""
    of, form = ALL_SIZES["one KV head" if precision == "mixed" else "usual"], FORMS.get(family, ())
    embeds = drawn(of, 3, 25)
    together = Run(of, precision, threads=1, form=form)
    expected = together(embeds, [0, 7, 2])
    monkeypatch.setattr(cpu, "MAX_ROWS", part)
    for threads in (2, 5):
        run = Run(of, precision, threads=threads, form=form)
        np.testing.assert_array_equal(run(embeds, [0, 7, 2]), expected)
        np.testing.assert_array_equal(run.cache, together.cache)
    alone = Run(of, precision, threads=2, form=form)
    for row, at in enumerate((0, 7, 2)):
        for begin, end in ((0, 1), (1, 2), (2, 18), (18, 25)):
            found = alone(embeds[row : row + 1, begin:end], [at + begin], first=row)
            np.testing.assert_array_equal(found[0], expected[row, begin:end])
    np.testing.assert_array_equal(alone.cache, together.cache)


@pytest.mark.parametrize("part", [MAX_ROWS, 7])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_keys_and_values_may_lie_outside_the_cache(
    form: tuple[str, ...], precision: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another number of first positions for each batch row, to the bit; windows end in them."""
    monkeypatch.setattr(cpu, "MAX_ROWS", part)
    together = Run(sizes(), precision, form=form)
    together(drawn(sizes(), 3, 21, seed=2), [0, 0, 0])
    beginning = together.cache[:, :, 0, :, :21].copy()
    together.cache[:, :, 1, :, :21] = together.cache[:, :, 2, :, :21] = beginning
    apart = Run(sizes(), precision, form=form)
    apart.cache[:] = together.cache
    lengths = np.array([21, 0, 13])
    for row, length in enumerate(lengths):
        apart.cache[:, :, row, :, :length] = np.nan  # not read
    shared = SharedPrefix(keys_values=beginning, lengths=lengths)
    for tokens, at in ((1, 21), (9, 22), (40, 31)):
        embeds = drawn(sizes(), 3, tokens, seed=tokens)
        inputs = arguments(embeds, [at] * 3)
        logits = np.empty((3, tokens, sizes().vocabulary_size), np.float32)
        apart.step.run(embeds, apart.cache, logits, **inputs, shared=shared)
        np.testing.assert_array_equal(logits, together(embeds, [at] * 3))


@pytest.mark.parametrize("part", [MAX_ROWS, 7])
def test_only_wanted_logits_in_any_order(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some native calls have no wanted token, or some of another order."""
    embeds = drawn(ODD, 2, 20)
    everything = Run(ODD, "float32")(embeds, [0, 0])
    monkeypatch.setattr(cpu, "MAX_ROWS", part)
    wanted = np.array([[19, 3], [0, 12]])
    found = Run(ODD, "float32")(embeds, [0, 0], wanted)
    np.testing.assert_array_equal(found, np.take_along_axis(everything, wanted[..., None], axis=1))


def spoilt_from_token_3(
    precision: str, family: str, number: float, steps: list[tuple[int, int]], last: int = 25
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [2, last, V] of two cells, the second with such a number; and without it."""
    form = FORMS.get(family, ())
    run, untouched = (Run(sizes(), precision, form=form) for _ in range(2))
    good = drawn(sizes(), 2, last)
    bad = good.copy()
    bad[1, 3, 5] = number
    found, expected = (
        np.concatenate([of(embeds[:, a:b].copy(), [a, a]) for a, b in steps], axis=1)
        for of, embeds in ((run, bad), (untouched, good))
    )
    return found, expected


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["float32", "int8", "mixed"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2", "qwen"])
def test_what_is_not_finite_spoils_the_rows_that_see_it_alone(
    family: str, precision: str, number: float
) -> None:
    """Quantised, it would become a number; and so would what later rows, and steps, see of it."""
    singly = [(0, 2), *((n, n + 1) for n in range(2, 9)), (9, 25)]
    for steps in ([(0, 25)], [(0, 4), (4, 25)], singly):
        found, expected = spoilt_from_token_3(precision, family, number, steps)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1, :3], expected[1, :3])
        assert np.isfinite(expected).all()
        assert np.isnan(found[1, 3:]).all()  # every family has a layer that sees all rows


@pytest.mark.parametrize("part", [MAX_ROWS, 7])
def test_a_prompt_that_is_not_finite_has_no_logits_behind_it(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the last token's are wanted, also of a prompt in several native calls."""
    monkeypatch.setattr(cpu, "MAX_ROWS", part)
    run, embeds = Run(sizes(), "int8"), drawn(sizes(), 2, 20)
    last = np.full((2, 1), 19)
    expected = run(embeds, [0, 0], last)
    embeds[1, 3, 5] = np.nan
    found = run(embeds, [0, 0], last)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[0], expected[0])
    # The next cell in that batch row does not see what the one before left there.
    np.testing.assert_array_equal(run(drawn(sizes(), 2, 20), [0, 0], last), expected)


def test_several_threads_may_run_the_same_step() -> None:
    run = Run(ODD, "int8")
    embeds = drawn(ODD, 3, 6)
    expected = run(embeds, [0, 0, 0])
    run.cache[...] = 0
    found: dict[int, np.ndarray] = {}

    def work(row: int) -> None:
        for _ in range(20):
            found[row] = run(embeds[row : row + 1], [0], first=row)[0]

    threads = [threading.Thread(target=work, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.stack([found[row] for row in range(3)]), expected)


def test_a_clone_shares_the_weights_alone() -> None:
    run = Run(ODD, "mixed")
    embeds = drawn(ODD, 1, 6)
    expected = run(embeds, [0])
    run.step, before = run.step.clone(), run.step
    before.close()
    np.testing.assert_array_equal(run(embeds, [0]), expected)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc")
def test_idle_threads_sleep_and_leave_at_the_end() -> None:
    before = tasks()
    # Steps are shared by several threads only where there is work for them.
    large = sizes(layers=1, hidden_size=512, intermediate_size=1024, vocabulary_size=3000)
    run = Run(large, "float32", threads=3)
    run(drawn(large, 1, 4), [0])

    def started() -> dict[str, str]:
        return {task: state for task, state in tasks().items() if task not in before}

    # A thread that has ended, such as one that packed, may still be listed for a moment.
    wait_until(lambda: list(started().values()) == ["S", "S"], "two threads sleep")
    run.step.close()
    wait_until(lambda: not started(), "they have left")


def wait_until(reached: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def tasks() -> dict[str, str]:
    """State of each thread of this process, "S" where it sleeps."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[task.name] = (task / "stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_fork_starts_threads_of_its_own() -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("no step is offered on this processor, and emulators fork no threads")
    here = Path(__file__).resolve()
    program = (
        "import os, sys, importlib.util as u\n"
        f"sys.path.insert(0, {str(here.parents[1] / 'support')!r})\n"
        f"spec = u.spec_from_file_location('tests_of_the_step', {str(here)!r})\n"
        "tests = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(tests)\n"
        "large = tests.sizes(hidden_size=512, intermediate_size=1024, vocabulary_size=3000)\n"
        "run, embeds = tests.Run(large, 'float32'), tests.drawn(large, 1, 4)\n"
        "expected = run(embeds, [0])\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    same = [(run(embeds, [0]) == expected).all() for _ in range(3)]\n"
        "    os._exit(0 if all(same) and len(tests.tasks()) == 2 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert (run(embeds, [0]) == expected).all()\n"
    )
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"heads": 5}, "5 query heads cannot share 2 KV heads"),
        ({"head_size": 7}, "a head size of 7, which is odd"),
        ({"intermediate_size": 65537}, "a linear of 65537 inputs"),
        ({}, ""),
    ],
)
def test_sizes_that_do_not_fit(changed: dict[str, int], problem: str) -> None:
    assert sizes_problem(sizes(**changed)) == problem


def test_a_matrix_that_does_not_fit_is_refused() -> None:
    decoder = random_decoder(ODD, "float32")
    decoder.layers[0].__dict__["o"] = decoder.layers[0].o.astype(np.float16)
    with pytest.raises(KernelError, match="a matrix of float16"):
        PackedDecoder(KERNELS, ODD, decoder)


def test_a_parallel_residual_with_norms_behind_is_refused() -> None:
    decoder = random_decoder(ODD, "float32", form=("parallel", "norms behind"))
    with pytest.raises(KernelError, match="a parallel residual with norms of what is added"):
        PackedDecoder(KERNELS, ODD, decoder)


def test_the_logits_of_one_token_may_be_asked_for_many_times() -> None:
    run = Run(ODD, "float32")
    embeds = drawn(ODD, 1, 2)
    once = run(embeds, [0])
    rows = np.array([[1, 0, 1, *[0] * 30]])
    np.testing.assert_array_equal(run(embeds, [0], rows), once[:, rows[0]])


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2"])
def test_only_the_last_token_s_logits_are_those_of_all(family: str, precision: str) -> None:
    """Behind the last attention, rows whose logits nobody wants are left out."""
    run = Run(sizes(), precision, form=FORMS.get(family, ()))
    embeds = drawn(sizes(), 2, 20)
    everything = run(embeds, [0, 0])
    np.testing.assert_array_equal(run(embeds, [0, 0], np.full((2, 1), 19)), everything[:, 19:])
