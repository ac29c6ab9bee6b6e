"""Which of the types that a route can send a client wants most (RFC 9110, 12.5.1)."""

from __future__ import annotations

from starlette.requests import Request

from c2t.runtime.serve.http.wire.problems import HttpError, shown


def choose_type(request: Request, *offered: str) -> str:
    """The offered type that the Accept header likes best; the first where it does not care.

    Raises:
        HttpError: 406: it likes none.
    """
    accept = request.headers.get("accept")
    if not accept:
        return offered[0]
    liked = [_liking(accept, kind) for kind in offered]
    best = max(liked)
    if best <= 0:
        problem = f"the request accepts only {shown(accept)}"
        raise HttpError(406, problem, hint=f"accept {' or '.join(offered)}")
    return offered[liked.index(best)]


def _liking(accept: str, kind: str) -> float:
    """Weight of a type, 0 to 1: that of the range that names it most closely."""
    closest, weight = -1, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        close = (name == "*/*", name == f"{kind.partition('/')[0]}/*", name == kind)
        if any(close) and close.index(True) > closest:
            closest, weight = close.index(True), _weight(parameters)
    return weight


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
