"""Settings of texts: the bundle's, the caller's, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import tiny_bundle, tiny_cell

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.bundle.stated_settings import stated_settings
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.command_line.text_options import TextOptions
from c2t.runtime.describe.describer import DescribeOptions, Describer, generation_settings
from c2t.runtime.describe.text_settings import later_settings
from c2t.runtime.generation.shaped_logits import penalise_in_place
from c2t.runtime.system.errors import C2TError

PLAIN = Generation()


def test_the_callers_settings_win() -> None:
    bundle = Generation(repetition_penalty=1.2, temperature=0.7, top_p=0.9, seed=5)
    options = DescribeOptions(repetition_penalty=1.0, temperature=0.0)
    chosen = generation_settings(bundle, options)
    assert (chosen.repetition_penalty, chosen.temperature) == (1.0, 0.0)
    assert generation_settings(bundle, DescribeOptions()) == bundle


def test_what_came_later_is_stated_only_where_it_counts() -> None:
    assert later_settings(PLAIN) == {}
    assert "temperature" not in stated_settings(PLAIN)
    drawn = Generation(temperature=0.7, stop_strings=("x",))
    assert later_settings(drawn) == {"stop_strings": ("x",), "temperature": 0.7, "seed": 0}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
        ({"repetition_penalty": -1.0}, "repetition_penalty is -1"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty is nan"),
        ({"repetition_penalty": 1e300}, r"repetition_penalty is 1e\+300"),
        ({"repetition_penalty": 1e-40}, "repetition_penalty is 1e-40"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": 0.5, "top_p": 0.0}, "top_p is 0"),
        ({"temperature": 0.5, "top_p": 1.5}, "top_p is 1.5"),
        ({"temperature": 0.5, "top_k": -1}, "top_k is -1"),
        ({"temperature": 0.5, "seed": -1}, "seed is -1"),
        ({"temperature": 0.5, "seed": 1 << 63}, "seed is 9,223"),
        ({"top_k": 4}, "top_k is 4, but no token is drawn"),
        ({"seed": 4}, "seed is 4, but no token is drawn"),
        ({"temperature": 0.5, "num_beams": 4}, "4 beams"),
        ({"stop_strings": ("",)}, "0 letters"),
        ({"stop_strings": "end"}, "one string: 'end'"),
        ({"stop_strings": ("x",) * 17}, "17 stop strings"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(C2TError, match=problem) as caught:
        generation_settings(PLAIN, DescribeOptions(**options))
    assert caught.value.hint


@pytest.mark.parametrize("penalty", [1 / 1024, 1024.0])
def test_the_widest_penalties_leave_logits_finite(penalty: float) -> None:
    generation_settings(PLAIN, DescribeOptions(repetition_penalty=penalty))
    logits = np.array([3e4, -3e4, 1e-3, 0.0], np.float32)
    penalise_in_place(logits, np.arange(4), penalty)
    assert np.isfinite(logits).all()


def test_the_bundles_stop_strings_can_be_switched_off() -> None:
    bundle = Generation(stop_strings=("end",))
    assert generation_settings(bundle, DescribeOptions(stop_strings=())).stop_strings == ()
    said = {
        "none": (None, ("end",)),
        "empty": ([""], ()),
        "other": (["x", "y"], ("x", "y")),
    }
    for given, expected in said.values():
        options = DescribeOptions(**TextOptions(stop=given).settings())
        assert generation_settings(bundle, options).stop_strings == expected
    with pytest.raises(C2TError, match="0 letters") as caught:
        generation_settings(bundle, DescribeOptions(**TextOptions(stop=["", "x"]).settings()))
    assert '--stop "" alone' in caught.value.hint


def texts(**options: object) -> list[str | None]:
    cells = [tiny_cell(length, seed) for seed, length in enumerate((5, 20, 20, 3, 48, 7))]
    describer = Describer(tiny_bundle().bundle, DescribeOptions(engine="cpu", **options))
    return [d.text for d in describer.describe([EncodedCells.of_tokens(cells)])]


def test_drawn_texts_do_not_depend_on_threads_or_batches() -> None:
    drawn = {"temperature": 0.8, "seed": 11, "max_new_tokens": 20}
    first = texts(threads=1, batch_size=1, **drawn)
    assert texts(threads=2, batch_size=4, **drawn) == first
    assert texts(threads=1, batch_size=3, drafts=False, **drawn) == first
    assert texts(threads=1, **{**drawn, "seed": 12}) != first
    assert len(set(first)) > 1


def test_a_text_ends_with_its_stop_string() -> None:
    plain = texts(max_new_tokens=40, no_repeat_ngram_size=0)
    letters = next(text for text in plain if text)[3:6]
    for whole, stopped in zip(
        plain,
        texts(stop_strings=(letters,), max_new_tokens=40, no_repeat_ngram_size=0),
        strict=True,
    ):
        assert whole is not None
        assert stopped is not None
        if letters in whole:
            assert whole.startswith(stopped)
            assert stopped.index(letters) > len(stopped) - len(letters) - 12
        else:
            assert stopped == whole
    assert np.mean([letters in text for text in plain if text]) > 0
