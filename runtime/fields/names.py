"""When two names are the same: letter case, plural "cells", spaces and hyphens do not count.

One decision: nothing else is forgiven. A looser rule would give wrong ids, and a wrong id is worse
than none.
"""

from __future__ import annotations

NAME_MAX = 300  # characters; the longest name of the Cell Ontology has 190, of MONDO 220
_AS_SPACE = str.maketrans(dict.fromkeys("-_\u2010\u2011\u2012\u2013\u2212\t\n\r\u00a0", " "))


def plain_name(name: str) -> str:
    """A name as it is compared: "CD4-positive T Cells" and "CD4 positive t cell" are one."""
    words = name.translate(_AS_SPACE).casefold().split()
    if words and words[-1] == "cells":
        words[-1] = "cell"
    return " ".join(words)
