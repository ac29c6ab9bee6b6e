"""Texts that a program gives, such as labels: several, each a string.

Python takes one string for a sequence of letters, and other things for texts without a word. Both
would be found out late, or never.
"""

from __future__ import annotations

from collections.abc import Iterable

from c2t.runtime.system.errors import C2TError

SHOWN = 60  # letters of what was given, in a message


def several_texts(given: object, what: str) -> tuple[str, ...]:
    """The texts, in their order.

    Args:
        given: Of the caller.
        what: What they are, in a word: "label".

    Raises:
        C2TError: One string instead of several, or something that is no string.
    """
    if isinstance(given, str):
        problem = f"the {what}s are one string: {given[:SHOWN]!r}"
        raise C2TError(problem, hint=f"give a list, also of one {what}: [{given[:SHOWN]!r}]")
    if not isinstance(given, Iterable):
        problem = f"the {what}s are {str(given)[:SHOWN]}"
        raise C2TError(problem, hint=f"give a list of {what}s")
    texts = tuple(given)
    for text in texts:
        if not isinstance(text, str):
            problem = f"a {what} is {str(text)[:SHOWN]}, which is no text"
            raise C2TError(problem, hint=f"give {what}s as strings")
    return texts
