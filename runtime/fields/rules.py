"""The rules that turn a caption into fields: `fields.json` of a bundle, checked when it is read.

One decision: rules are literal texts, never patterns of a language. A bundle comes from a stranger;
a literal can be wrong, but it can neither run for ever nor do anything else than be found or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from c2t.runtime.fields.names import NAME_MAX
from c2t.runtime.system.checked_read import decode_json, json_bytes, read_bounded
from c2t.runtime.system.errors import BundleError, C2TError

RULES_NAME = "fields.json"
RULES_VERSION = 1
RULES_BYTES_MAX = 8 << 20
KNOWN_MAX = 50_000  # names that one field may list
# What a caption can be asked for. Outputs have a column each.
FIELD_NAMES = ("cell_type", "tissue", "disease", "sex", "age", "pathways")
HINT = "make it again with `c2t export`, or give rules with `--fields`; see `c2t help fields`"

FieldName = Literal["cell_type", "tissue", "disease", "sex", "age", "pathways"]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=64)]
# An empty one stands for "nothing"; it is the last of its alternatives.
Alternatives = Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A stretch of a sentence: a literal, then a value, or one of both.

    Args:
        after: The literal, in alternatives; the first one that fits is taken.
        field: What the value says; None: the literal alone.
        optional: The sentence may lack this step.
        means: The literal itself says this value.
        only: A closed list: each word that can stand here, and the value it says. None: it says
            that nothing is known ("donor").
        ends: What surely ends the value. The rest of the sentence is then not looked at.
        may_end: What ends the value if it then is a known name.
        never: What no value holds that has a possible end inside.
    """

    after: Alternatives = ()
    field: FieldName | None = None
    optional: bool = False
    means: Name | None = None
    only: Annotated[dict[Text, Name | None], Meta(max_length=256)] | None = None
    ends: Texts = ()
    may_end: Texts = ()
    never: Texts = ()

    @property
    def is_free(self) -> bool:
        """Whether any text can stand here."""
        return self.field is not None and self.means is None and self.only is None


class Sentence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A sentence of a caption.

    Args:
        begins: How it begins; a later alternative counts where no earlier one is in the text. An
            empty one stands for the text's own beginning, and is the only one.
        steps: What follows, in this order, to the sentence's end.
        repeats: Several such sentences add up; else they must say the same.
        ends_with_text: The end of a whole text ends it too: these texts have no full stop.
    """

    begins: Annotated[Alternatives, Meta(min_length=1)]
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=16)]
    repeats: bool = False
    ends_with_text: bool = False


class FieldRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `fields.json`.

    Args:
        version: Of the rules' form.
        sentences: The sentences that say something. None of them: captions without fields.
        known: Names that captions of the training set used, by field. They decide where a text can
            be read in two ways.
        abbreviations: Words whose full stop does not end a sentence, without it.
    """

    version: int
    sentences: Annotated[tuple[Sentence, ...], Meta(max_length=32)]
    known: dict[FieldName, Annotated[tuple[Name, ...], Meta(max_length=KNOWN_MAX)]] = {}
    abbreviations: Texts = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that these rules can find, in the order of `FIELD_NAMES`."""
        found = {step.field for sentence in self.sentences for step in sentence.steps}
        return tuple(name for name in FIELD_NAMES if name in found)

    def with_known(self, known: Mapping[FieldName, tuple[str, ...]]) -> FieldRules:
        """The same rules with these known names."""
        return msgspec.structs.replace(self, known=dict(known))

    def ending_early(self) -> FieldRules:
        """Rules by which a value surely ends where it may end: the paper's way to score texts."""

        def early(step: Step) -> Step:
            if not step.may_end:
                return step
            return msgspec.structs.replace(
                step, ends=(*step.ends, *step.may_end), may_end=(), never=()
            )

        sentences = tuple(
            msgspec.structs.replace(s, steps=tuple(map(early, s.steps))) for s in self.sentences
        )
        return msgspec.structs.replace(self, sentences=sentences)


class _Versioned(msgspec.Struct):
    version: int


def read_rules(path: Path, *, error: type[C2TError] = BundleError, hint: str = HINT) -> FieldRules:
    """Read `fields.json`.

    Raises:
        C2TError: Of the class `error`: not rules, of a newer form, too large, or such that they
            cannot be followed.
    """
    what = "rules for fields"
    content = read_bounded(path, bytes_max=RULES_BYTES_MAX, error=error, hint=hint, what=what)
    version = decode_json(content, _Versioned, name=path, error=error, hint=hint, what=what).version
    if version != RULES_VERSION:
        problem = f"{path} has rules of form {version}; this c2t reads form {RULES_VERSION}"
        raise error(problem, hint="update c2t, or make the rules again")
    rules = decode_json(content, FieldRules, name=path, error=error, hint=hint, what=what)
    problems = list(_problems(rules))
    if problems:
        problem = f"{path} has rules that cannot be followed: {problems[0]}"
        raise error(problem, hint=hint)
    return rules


def rules_bytes(rules: FieldRules) -> bytes:
    """The content of `fields.json`."""
    return json_bytes(rules)


def _problems(rules: FieldRules) -> Iterator[str]:
    for sentence in rules.sentences:
        where = f"the sentence {sentence.begins[0]!r}"
        if "" in sentence.begins and len(sentence.begins) > 1:
            yield f"{where} has an empty beginning beside others"
        if not any(step.field for step in sentence.steps):
            yield f"{where} says no field"
        for place, step in enumerate(sentence.steps):
            number = f"step {place + 1} of {where}"
            yield from (f"{number} {problem}" for problem in _step_problems(step))
            last = place + 1 == len(sentence.steps)
            if (step.ends or step.may_end) and not last:
                yield f"{number} has `ends`, but is not the last"
            # The fallback of a closed list is a free text, too.
            if step.field and step.means is None and not _is_bounded(sentence.steps[place + 1 :]):
                yield f"{number} has no end: a step behind it needs `after`"


def _step_problems(step: Step) -> Iterator[str]:
    if not (step.after or step.field):
        yield "is empty"
    if "" in step.after[:-1]:
        yield "has an empty alternative before others"
    if step.field is None and (step.means or step.only is not None or step.ends or step.may_end):
        yield "has a value, but no field"
    if step.means is not None and (not step.after or "" in step.after):
        yield "has `means`, but no `after`"
    if step.means is not None and step.only is not None:
        yield "has `means` and `only`"
    if step.only is not None and (not step.only or step.ends or step.may_end):
        yield "has an `only` without words, or with `ends`"
    if (step.ends or step.may_end) and step.optional:
        yield "has `ends`, but is optional"


def _is_bounded(following: tuple[Step, ...]) -> bool:
    """Whether all steps that can come next begin with a literal."""
    for step in following:
        if not step.after or "" in step.after:
            return False
        if not step.optional:
            break
    return True
