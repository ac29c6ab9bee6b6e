"""The organisms that a model knows, and what its prompt calls them."""

from __future__ import annotations

from collections.abc import Sequence

from c2t.export.cell2sentence.published import ORGANISMS, SentenceFamily
from c2t.runtime.cells.genes.species import SPECIES
from c2t.runtime.system.errors import CheckpointError


def read_organisms(given: Sequence[str] | None, family: SentenceFamily) -> dict[str, str]:
    """The words of the prompt for each species.

    Args:
        given: Names like "human", or "human=Homo sapiens" for other words; None: all that the
            family was trained on.
        family: The family.

    Raises:
        CheckpointError: A species is unknown, there twice, or has no words.
    """
    if not given:
        return dict(family.organisms)
    found: dict[str, str] = {}
    for entry in given:
        name, _, words = entry.partition("=")
        latin = {species.name: species.latin for species in SPECIES} | dict(ORGANISMS)
        if name not in latin:
            problem = f"--organism names {name!r}, which is no species that c2t knows"
            raise CheckpointError(problem, hint=f"the names are: {', '.join(latin)}")
        words = words or latin[name]
        if name in found or not words.strip():
            why = "is there twice" if name in found else "has no words for the prompt"
            problem = f"--organism {name} {why}"
            raise CheckpointError(problem, hint=f"give it once, as {name}={latin[name] or 'WORDS'}")
        found[name] = words
    return found
