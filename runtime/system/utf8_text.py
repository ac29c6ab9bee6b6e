"""Texts that cannot be written in UTF-8: refused where they come in, not where they are written.

Python keeps a byte that is no UTF-8, such as a terminal hands over, as half a letter (PEP 383).
"""

from __future__ import annotations

from c2t.runtime.system.errors import C2TError


def check_utf8(text: str) -> None:
    """Refuse a text with half a letter.

    Raises:
        C2TError: Shows the first.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"a text is no UTF-8: it has {text[error.start]!r}"
        raise C2TError(problem, hint="write it again in UTF-8") from error
