"""How texts are written: the bundle's settings with the caller's in their place, checked together.

One decision: greedy is what a bundle does unless somebody asks for something else. What counts only
where tokens are drawn is refused where none are, so that no setting is without effect unsaid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from c2t.runtime.bundle.manifest import BEAMS_MAX, PENALTY_MAX, Generation
from c2t.runtime.bundle.stated_settings import LATER_SETTINGS, stated_settings
from c2t.runtime.generation.drawn_choices import SEED_MAX
from c2t.runtime.generation.stop_strings import check_stop_strings
from c2t.runtime.system.errors import C2TError

# Those that a caller may give.
CHOSEN = ("max_new_tokens", "num_beams", "no_repeat_ngram_size", *LATER_SETTINGS)


def chosen_settings(defaults: Generation, chosen: Mapping[str, Any]) -> Generation:
    """The bundle's settings with the caller's in their place.

    Args:
        defaults: The bundle's.
        chosen: The caller's, by the names of `CHOSEN`; None takes the bundle's.

    Raises:
        C2TError: A number that is too small or too large, a stop string that stops nothing, or
            settings that contradict each other.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    generation = replace(defaults, **given)
    for name, fits, hint in _limits(generation):
        if not fits:
            problem = f"{name} is {getattr(generation, name):,}"
            raise C2TError(problem, hint=hint)
    check_stop_strings(generation.stop_strings)
    _check_drawing(generation, given)
    return generation


def later_settings(generation: Generation) -> dict[str, Any]:
    """The settings that came later, where they change something; of drawn texts also the seed."""
    stated = stated_settings(generation)
    if generation.temperature > 0:
        stated["seed"] = generation.seed
    return {name: stated[name] for name in LATER_SETTINGS if name in stated}


def all_settings(generation: Generation) -> dict[str, Any]:
    """What a text was written with, by name: what an answer says of itself."""
    return {
        "max_new_tokens": generation.max_new_tokens,
        "num_beams": generation.num_beams,
        "no_repeat_ngram_size": generation.no_repeat_ngram_size,
        **later_settings(generation),
    }


def _limits(g: Generation) -> Iterator[tuple[str, bool, str]]:
    """Each number, whether it is within its limits, and what to give if not."""
    for name, least, most in (
        ("max_new_tokens", 1, None),
        ("num_beams", 1, BEAMS_MAX),
        ("no_repeat_ngram_size", 0, None),
        ("top_k", 0, None),
        ("seed", 0, SEED_MAX),
    ):
        value = getattr(g, name)
        yield name, value >= least, f"give a number of at least {least}"
        if most is not None:
            yield name, value <= most, f"give a number of at most {most:,}"
    hint = f"give a number from {1 / PENALTY_MAX:g} to {PENALTY_MAX:g}; 1 changes nothing, 1.2 "
    hint += "repeats less"
    fits = 1 / PENALTY_MAX <= g.repetition_penalty <= PENALTY_MAX  # NaN does not
    yield "repetition_penalty", fits, hint
    hint = "give 0 for the most probable tokens, or a number above it, such as 0.7"
    yield "temperature", 0 <= g.temperature < math.inf, hint
    hint = "give a share above 0, such as 0.9; 1 keeps all tokens"
    yield "top_p", 0 < g.top_p <= 1, hint


def _check_drawing(generation: Generation, given: dict[str, Any]) -> None:
    """Refuse what counts only for drawn tokens where none are drawn, and drawing with beams."""
    if generation.temperature == 0:
        idle = [name for name in ("top_k", "top_p", "seed") if name in given]
        if idle:
            problem = f"{idle[0]} is {given[idle[0]]}, but no token is drawn at temperature 0"
            hint = f"add a temperature, such as 0.7, or leave {idle[0]} out"
            raise C2TError(problem, hint=hint)
    elif generation.num_beams > 1:
        problem = f"{generation.num_beams} beams are searched; temperature {generation.temperature}"
        problem += " asks for drawn tokens"
        raise C2TError(problem, hint="ask for 1 beam, or for temperature 0")
