"""One thing that can be asked: what answers it, and how it is described.

One decision: a route and its description are one object, so that neither can be without the other.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]
# Media types, each with one of our types; with `str` or `bytes` for what JSON Schema cannot
# describe; or, of a stream, with its events' names and the types of their data.
Contents = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header that a request may send."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method of a path.

    Args:
        method: Of HTTP.
        path: With its variable parts in braces.
        answer: Answers it.
        summary: What it does, in a line.
        status: Of an answer without an error.
        sends: What such an answer holds.
        headers_sent: Its headers, each with what it says.
        takes: What the body may be.
        query: Types whose fields are its parameters.
        headers: What it looks at.
        errors: Its own errors; those that anything may have are added.
        needs_token: Whether it is refused without the service's token.
        description: More about it.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    answer: Endpoint
    summary: str
    status: int = 200
    sends: Contents = field(default_factory=dict)
    headers_sent: Mapping[str, str] = field(default_factory=dict)
    takes: Contents = field(default_factory=dict)
    query: tuple[type[Any], ...] = ()
    headers: tuple[Header, ...] = ()
    errors: tuple[int, ...] = ()
    needs_token: bool = True
    description: str = ""

    @property
    def variables(self) -> list[str]:
        """The variable parts of its path."""
        return re.findall(r"{(\w+)}", self.path)
