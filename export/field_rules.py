"""The rules for fields of a bundle: given as a file, or the paper's with the captions' own words.

One decision: rules are not guessed from captions. Captions that follow the paper's template add the
names that they use, which decide where a text can be read in two ways; others need a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from c2t.export.phrases import read_phrases
from c2t.runtime.fields.names import NAME_MAX
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.rules import (
    KNOWN_MAX,
    FieldName,
    FieldRules,
    Sentence,
    Step,
    read_rules,
)
from c2t.runtime.system.errors import CheckpointError

LEARNED: tuple[FieldName, ...] = ("cell_type", "tissue", "disease", "age")
# A word for a person is one that so many of the captions use.
WORD_SHARE = 0.01
WORDS_MAX = 16
_HINT = "give a file of rules, as `c2t help fields` says; a bundle's fields.json is an example"


def field_rules(given: Path | None, phrases: Path | None) -> FieldRules | None:
    """The rules that a bundle is to carry; None: none of its own, so the paper's apply.

    Args:
        given: A file of rules.
        phrases: Captions of the training set.

    Raises:
        CheckpointError: A file cannot be read.
    """
    if given is not None:
        return read_rules(given, error=CheckpointError, hint=_HINT)
    return None if phrases is None else learned_rules(read_phrases(phrases))


def learned_rules(captions: Sequence[str]) -> FieldRules | None:
    """The paper's rules with the names of some captions; None if no caption follows them."""
    rules = _with_words(PAPER_RULES, captions)
    said: dict[FieldName, Counter[str]] = {field: Counter() for field in LEARNED}
    reader = FieldReader(rules)
    for caption in captions:
        fields = reader.read(caption)
        for name in LEARNED:
            found = fields.get(name)
            if found is not None and len(found.words) <= NAME_MAX:
                said[name][found.words] += 1
    if not any(said.values()):
        return None
    return rules.with_known(
        {
            name: tuple(word for word, _ in sorted(words.most_common(KNOWN_MAX)))
            for name, words in said.items()
            if words
        }
    )


def _with_words(rules: FieldRules, captions: Iterable[str]) -> FieldRules:
    """Rules that also know the captions' other words for a person, which say nothing of a sex."""
    free = _map_steps(rules, lambda step: None if step.only else step.only)
    reader = FieldReader(free)
    words: Counter[str] = Counter()
    for caption in captions:
        found = reader.read(caption).get("sex")
        if found is not None and len(found.words.split()) <= 2:
            words[found.words.lower()] += 1
    enough = WORD_SHARE * words.total()
    more = [word for word, count in words.most_common(WORDS_MAX) if count > enough]
    return _map_steps(
        rules,
        lambda step: step.only and dict.fromkeys(more) | step.only,
    )


def _map_steps(
    rules: FieldRules, only: Callable[[Step], dict[str, str | None] | None]
) -> FieldRules:
    def changed(sentence: Sentence) -> Sentence:
        steps = tuple(msgspec.structs.replace(step, only=only(step)) for step in sentence.steps)
        return msgspec.structs.replace(sentence, steps=steps)

    return msgspec.structs.replace(rules, sentences=tuple(map(changed, rules.sentences)))
