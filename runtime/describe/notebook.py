"""What a notebook shows of a model and of descriptions: small tables, on light and on dark.

One decision: no colours of its own. Lines are the letters' colour, thinned, so that the notebook's
theme is right whatever it is. All that comes from a bundle or from cells is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.system.svg import Markup, element
from c2t.runtime.system.text_tables import visible

if TYPE_CHECKING:
    from c2t.runtime.bundle.bundle import Bundle

TEXT_MAX = 600  # characters
CellLine: TypeAlias = tuple[str, str, float | None, float | None]
_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;"
_RULE = "border-bottom:1px solid rgba(128,128,128,.35);"


def model_html(bundle: Bundle, engines: Sequence[str], *, closed: bool) -> str:
    """A model: its bundle, what runs it, what it takes, and under which licences.

    Args:
        bundle: The bundle.
        engines: Labels of the engines that are open.
        closed: Whether the model was closed.
    """
    rows = list(_about(bundle.manifest))
    state = "closed" if closed else ", ".join(engines) or "none opened yet"
    rows.insert(2, ("engine", state))
    if bundle.trust is not None:
        rows.append(("signed", f"with the trusted key {bundle.trust.fingerprint[:16]}"))
    lines = [
        element(
            "tr",
            None,
            element("th", {"style": _CELL + "font-weight:normal;opacity:.7"}, name),
            element("td", {"style": _CELL}, _words(value)),
        )
        for name, value in rows
    ]
    title = element("strong", None, f"c2t model {_words(bundle.manifest.name)}")
    return element("div", None, title, element("table", {"style": "margin-top:4px"}, *lines))


def cells_html(cells: Sequence[CellLine], *, more: int = 0) -> str:
    """Descriptions as a table, one cell a line.

    Args:
        cells: Id, text (or error), and the two confidences of each.
        more: How many cells are not shown.
    """
    names = ("cell", "description", "confidence", "in its type")
    head = element("tr", None, *(element("th", {"style": _CELL + _RULE}, name) for name in names))
    body = element("tbody", None, Markup("".join(_line(cell) for cell in cells)))
    parts: list[str] = [element("table", None, element("thead", None, head), body)]
    if more > 0:
        parts.append(element("p", {"style": "opacity:.7"}, f"and {more:,} more cells"))
    return element("div", None, *parts)


def _about(m: Manifest) -> Iterator[tuple[str, str]]:
    yield "precision", m.precision
    parts, tokens = list[str](), list[str]()
    if m.has_encoder:
        parts.append(f"encoder {m.encoder.model}")
        tokens.append(f"{m.gene_input.vocabulary_size:,} gene tokens")
    if m.has_decoder:
        parts.append(f"decoder {m.decoder.model}")
        tokens.append(f"{m.decoder.vocabulary_size:,} text tokens")
    yield "size", "; ".join(parts)
    yield "takes", m.input_said
    yield "vocabulary", ", ".join(tokens)
    yield "family", m.family
    yield "tasks", ", ".join(m.tasks)
    yield "species", m.species_known
    if m.has_decoder:
        settings = m.generation
        search = "greedy" if settings.num_beams == 1 else f"{settings.num_beams} beams"
        yield "limits", f"at most {settings.max_new_tokens:,} text tokens a cell, {search}"
    said = "; ".join(f"{x.part}: {x.licence}" for x in m.licences)
    yield "licences", said or "none stated"
    if m.origin.random_weights:
        yield "warning", "random weights: for measuring only, its texts mean nothing"


def _line(cell: CellLine) -> Markup:
    values = (*cell[:2], *map(_share, cell[2:]))
    return element(
        "tr", None, *(element("td", {"style": _CELL + _RULE}, _words(value)) for value in values)
    )


def _share(value: str | float | None) -> str:
    return "" if value is None else f"{float(value):.3f}"


def _words(value: object) -> str:
    text = visible(str(value))
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
