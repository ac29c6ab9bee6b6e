"""Options of the command line in a message, as a program names them: its own field.

Errors and warnings are written for the command line. A program that sends cells has settings of the
same names, with underscores.
"""

from __future__ import annotations

import re

_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)( [^`]+(?=`))?")


def options_as_fields(message: str) -> str:
    """`--counts-are log1p` becomes `counts_are: log1p`."""
    return _OPTION.sub(_field, message)


def _field(option: re.Match[str]) -> str:
    return option[1].replace("-", "_") + (f":{option[2]}" if option[2] else "")
