"""How texts are written: the options of all commands that have a decoder write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from c2t.runtime.command_line.options import MaxNewTokensOption, NumBeamsOption


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How to write texts, as a user says it; None leaves it to the bundle."""

    max_new_tokens: MaxNewTokensOption = None
    num_beams: NumBeamsOption = None
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(min=0, help="Size of n-grams that may not repeat; 0: off.")
    ] = None
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            help="Divides the logits of tokens that came before: 1.2 repeats less; 1: off."
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            help="A text ends once it says this. Several may be given; '' alone: not even the "
            "bundle's own.",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Draw tokens at random; the higher, the freer. 0: the most probable ones."
        ),
    ] = None
    top_k: Annotated[
        int | None, typer.Option(help="Draw from so many tokens only; needs --temperature. 0: all.")
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw from the tokens that have so much of the probability; 1: all."),
    ] = None
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of drawn texts: the same seed, the same texts.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """These, by the names of `DescribeOptions`."""
        stops = None if not self.stop else tuple(self.stop)
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "repetition_penalty": self.repetition_penalty,
            "stop_strings": () if stops == ("",) else stops,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "seed": self.seed,
        }
