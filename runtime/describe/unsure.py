"""Which cell types are unsure: the bundle's own rule, or a threshold that the user gives.

One decision: nothing is hidden and nothing invented. Text and confidence stay as they are. A bundle
that states no rule gives no probability, and marks no cell unless the user names a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.bundle.unsure_rule import UnsureRule
from c2t.runtime.describe.text_settings import later_settings
from c2t.runtime.system.errors import C2TError

AUTO = "auto"
# Settings that change how sure a model is of its own text.
SETTINGS = ("num_beams", "no_repeat_ngram_size")
DRAWN = ("repetition_penalty", "temperature", "top_k", "top_p")


@dataclass(frozen=True, kw_only=True)
class UnsureMark:
    """Marks the cells whose cell type is unsure.

    Args:
        below: The threshold.
        rule: The bundle's, whose probabilities are compared with it. None: the bundle states none,
            and the confidence itself is compared.
    """

    below: float
    rule: UnsureRule | None

    @property
    def sentence(self) -> str:
        """What is done, for people."""
        rule = self.rule
        if rule is None:
            return (
                f"cells with a cell_type_confidence below {self.below:g} are marked unsure; the "
                "bundle states no probabilities"
            )
        if self.below != rule.threshold:
            return f"cells with a cell_type_probability below {self.below:g} are marked unsure"
        return (
            f"cells with a cell_type_probability below {self.below:g} are marked unsure, by the "
            f"bundle's own threshold: {100 * rule.answered_right:.1f} % of the "
            f"{100 * rule.answered:.1f} % of cells above it were right on labelled cells"
        )

    @property
    def about(self) -> dict[str, str | float]:
        """The same for programs."""
        compared = "cell_type_confidence" if self.rule is None else "cell_type_probability"
        return {"below": self.below, "compared": compared}

    def probability(self, confidence: float | None) -> float | None:
        """Probability that a cell type is right.

        Args:
            confidence: `cell_type_confidence`; None where a text names no cell type.

        Returns:
            None without a rule, or without a confidence.
        """
        if self.rule is None or confidence is None:
            return None
        return self.rule.probability_of(confidence)

    def is_unsure(self, confidence: float | None) -> bool:
        """Whether a cell type is unsure; a cell without one has no sure answer either."""
        if confidence is None:
            return True
        probability = self.probability(confidence)
        return (confidence if probability is None else probability) < self.below


def unsure_mark(bundle: Bundle, below: float | str | None) -> UnsureMark | None:
    """What marks a bundle's cells.

    Args:
        bundle: Its rule is taken where it states one.
        below: A threshold from 0 to 1; "auto" for the bundle's own; None for the bundle's own if it
            states one.

    Returns:
        None: no cell is marked.

    Raises:
        C2TError: The bundle states no threshold, or a number that is no share.
        BundleError: The bundle's rule cannot be read.
    """
    if isinstance(below, str) and below != AUTO:
        problem = f"unsure_below is {below!r}"
        raise C2TError(problem, hint='give a number from 0 to 1, or "auto"')
    if isinstance(below, (int, float)) and not 0 <= below <= 1:
        problem = f"unsure_below is {below:g}"
        raise C2TError(problem, hint="give a probability from 0 to 1, such as 0.8")
    rule = bundle.unsure_rule
    if rule is None:
        if below == AUTO:
            problem = f"the bundle {bundle.manifest.name} states no threshold for unsure cells"
            hint = "fit one with `c2t evaluate --fit-unsure`, or give a number from 0 to 1; see "
            hint += "`c2t help unsure`"
            raise C2TError(problem, hint=hint)
        return None if below is None else UnsureMark(below=float(below), rule=None)
    own = below is None or isinstance(below, str)
    return UnsureMark(below=rule.threshold if own else float(below or 0), rule=rule)


def other_settings(mark: UnsureMark, generation: Generation) -> str | None:
    """A warning if texts are written in another way than those the rule was fitted on."""
    if mark.rule is None:
        return None
    now = text_settings(generation)
    fitted = mark.rule.generation
    for name in DRAWN:  # rules state them only where they change something
        default = str(getattr(Generation(), name))
        if fitted.get(name, default) != now.get(name, default):
            now, fitted = {name: default, **now}, {name: default, **fitted}
    changed = [f"{name} {fitted[name]}" for name in now if fitted.get(name, now[name]) != now[name]]
    if not changed:
        return None
    return f"the bundle's probabilities were fitted with {', '.join(changed)}: they may be off here"


def said_of_unsure(mark: UnsureMark | None, generation: Generation) -> Iterator[str]:
    """What is said about the cells that are marked unsure; nothing where none is."""
    if mark is None:
        return
    yield mark.sentence
    warning = other_settings(mark, generation)
    if warning is not None:
        yield f"warning: {warning}"


def text_settings(generation: Generation) -> dict[str, str]:
    """The settings that change how sure a model is, as a rule states them."""
    later = later_settings(generation)
    drawn = {name: str(later[name]) for name in DRAWN if name in later}
    return {name: str(getattr(generation, name)) for name in SETTINGS} | drawn
