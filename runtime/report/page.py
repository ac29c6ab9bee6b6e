"""The page of a report: one file, no script, nothing that is fetched.

One decision: the order of a reader's questions. What was described? What are the cells? What is
each type, and why? Does it agree with my labels? What is doubtful, what failed, how was it made?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import c2t
from c2t.runtime.report.charts import histogram, legend, matrix, scatter, share_bar
from c2t.runtime.report.evidence import LEAST
from c2t.runtime.report.html import TEXT_MAX, count, joined, percent, section, table, tag, words
from c2t.runtime.report.page_types import NUMBERS, term_words, type_article, type_table
from c2t.runtime.report.report import Report, errors_in_all
from c2t.runtime.summary.categories import cells_words
from c2t.runtime.system.svg import Markup, element

EVIDENCE_SAID = (
    "median drop of the words' log probability when the gene is left out, beyond what any gene of "
    "its rank moves, and in how many of the explained cells it is more than noise; genes whose "
    f"median is below {LEAST} are not listed"
)
EVIDENCE_UNIT = (
    "Genes that the words rest on: by how much the natural logarithm of the words' probability "
    "drops without the gene (median), and in how many of the explained cells that is more than "
    "noise. Below 0: the gene speaks against the words."
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = Path(__file__).parent / "style.css"
GROUPS_MAX = 200  # that have a line
GROUP_TEXTS_MAX = 40


def make_page(report: Report) -> str:
    """The whole page."""
    parts = [part for part in _parts(report) if part is not None]
    contents = element(
        "nav",
        {"aria-label": "Contents"},
        element(
            "ul",
            None,
            joined(
                element("li", None, element("a", {"href": f"#{name}"}, title))
                for title, name, _ in parts
            ),
        ),
    )
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "referrer", "content": "no-referrer"}),
        element("title", None, words(report.title)),
        # Our own file, and no markup in it.
        element("style", None, Markup(STYLE.read_text(encoding="utf-8"))),
    )
    body = element(
        "body",
        None,
        element("a", {"class": "skip", "href": "#main"}, "To the content"),
        element("header", None, *_head(report), contents),
        element(
            "main",
            {"id": "main"},
            joined(section(title, name, content) for title, name, content in parts),
        ),
        element("footer", None, element("p", None, _foot())),
    )
    return f"<!DOCTYPE html>\n{element('html', {'lang': 'en'}, head, body)}\n"


def _parts(report: Report) -> Iterator[tuple[str, str, Markup]]:
    """Heading, name and content of each part."""
    yield "The cells", "cells", _cells(report)
    yield "Cell types", "types", type_table(report)
    compared = len(report.cells_part.genes) > 0
    articles = [type_article(part, compared=compared) for part in report.types]
    if any(part.evidence for part in report.types):
        articles.insert(0, tag("p", "aside", EVIDENCE_UNIT))
    yield "Each type", "each", joined(articles)
    if report.lines:
        yield "Groups of cells", "groups", _groups(report)
    if report.compared is not None:
        yield "Against your own labels", "labels", _labels(report)
    yield "Confidence", "confidence", _confidence(report)
    if report.failed:
        yield "Not described", "errors", _errors(report)
    yield "How this was made", "made", _made(report)


def _head(report: Report) -> list[Markup]:
    results, failed = report.results, errors_in_all(report)
    about = results.about
    bundle = f" by the model {words(about['bundle'])}" if about.get("bundle") else ""
    described = f"{cells_words(len(results.cells))} described{bundle}"
    written = results.written.strftime("%d %B %Y, %H:%M UTC")
    lead = f"{described}. Results of {words(results.path.name)}, written {written}."
    cards = [
        ("cells", count(len(results.cells)), ""),
        ("cell types", count(report.every_type), ""),
    ]
    if report.unsure is not None:
        share = report.unsure / len(results.cells)
        cards.append(("unsure", count(report.unsure), percent(share)))
    cards.append(("not described", count(failed), percent(failed / len(results.cells))))
    middle = _median_words(report)
    if middle:
        cards.append(("confidence in the type", middle, "median over cells"))
    if report.compared is not None:
        agreement = f"{report.compared.rand_index:.2f}"
        cards.append(("agreement with your labels", agreement, "adjusted Rand index"))
    made = [
        element(
            "div",
            {"class": "card"},
            element("dt", None, name),
            tag("dd", "value", value),
            *([tag("dd", "aside", remark)] if remark else []),
        )
        for name, value, remark in cards
    ]
    return [
        element("h1", None, words(report.title)),
        tag("p", "aside lead", lead),
        element("dl", {"class": "cards"}, *made),
    ]


def _median_words(report: Report) -> str:
    import numpy as np

    values = report.results.cell_type_confidence
    values = values[np.isfinite(values)]
    return f"{float(np.median(values)):.3f}" if len(values) else ""


def _cells(report: Report) -> Markup:
    part = report.cells_part
    names = legend(report.groups, report.rarer, report.unsure or 0)
    if part.places is None:
        return joined([tag("p", "aside", f"No picture of the cells: {words(part.plane)}."), names])
    from numpy import isfinite

    lost = int((~isfinite(part.places).all(axis=1)).sum())
    title = f"{cells_words(len(part.places))}, coloured by described type"
    said = f"{words(part.plane)}. A number lies on a cell near the middle of its type, or beside "
    said += "the cells of a small one."
    if lost:
        said += f" {cells_words(lost)} {'has' if lost == 1 else 'have'} no place."
    cells = scatter(part.places, report.groups, title=title, grey=report.grey)
    picture = element(
        "figure",
        None,
        element("div", {"class": "cells"}, cells),
        tag("figcaption", "aside", said),
    )
    return element("div", {"class": "picture"}, picture, names)


def _groups(report: Report) -> Markup:
    """The answer of each group, and the texts that were written from mean vectors."""
    shown = report.lines[:GROUPS_MAX]
    unsure = any(line.unsure is not None for line in shown)
    second = any(line.runner_up for line in shown)
    rows = []
    for line in shown:
        share = line.share
        row = [words(line.name), words(line.answer or "not described"), term_words(line.term)]
        row += [count(line.cells), "" if share is None else share_bar(share, None)]
        row.append("" if share is None else percent(share))
        row += ["" if line.unsure is None else count(line.unsure)] if unsure else []
        row += [words(line.runner_up)] if second else []
        rows.append(row)
    head = ["group", "answer of its cells", "ontology id", "cells", "", "share"]
    head += ["unsure"] if unsure else []
    head += ["runner-up"] if second else []
    caption = "The groups, the largest first. The share is that of the most frequent answer."
    parts = [
        table(
            head,
            rows,
            caption=caption,
            kind="types",
            numbers=[n for n, name in enumerate(head) if name in NUMBERS],
        )
    ]
    if len(report.lines) > len(shown):
        rest = len(report.lines) - len(shown)
        parts.append(tag("p", "aside", f"and {rest:,} smaller group{'s' * (rest != 1)}"))
    texts = [line for line in shown if line.text][:GROUP_TEXTS_MAX]
    if texts:
        parts.append(element("h3", None, "Texts of groups"))
        parts.append(tag("p", "aside", "Written from the mean of the vectors of a group's cells."))
        for line in texts:
            name = element("h4", None, f"{words(line.name)}: {words(line.answer)}")
            quoted = element("blockquote", None, words(line.text, TEXT_MAX))
            parts.append(element("article", {"class": "type"}, name, quoted))
    return joined(parts)


def _labels(report: Report) -> Markup:
    compared = report.compared
    assert compared is not None
    caption = (
        f"Percent of each own label's cells (line, column {words(report.label_column)} of "
        f"{words(report.cells_part.name or '')}) that have each described type (column)."
    )
    said = (
        f"The adjusted Rand index is {compared.rand_index:.2f}: 1 if the types part the cells as "
        "the labels do, 0 for chance. Names play no part in it. "
        f"{count(compared.same)} of {count(compared.cells)} labelled cells "
        f"{'has' if compared.same == 1 else 'have'} a type of the very name of their label"
    )
    if report.mapped:
        labels = "1 label" if report.mapped == 1 else f"{report.mapped:,} labels"
        said += f", {labels} being renamed by the map that was given."
    else:
        said += "; two names of one type count as different here, unless a map of labels is given."
    if compared.sure is not None:
        sure = compared.sure
        said += (
            f" That counts all cells by what their texts say. Of the {count(sure.cells)} that are "
            f"not unsure, {count(sure.same)} {'has' if sure.same == 1 else 'have'} the name of "
            f"their label, and the index of these alone is {sure.rand_index:.2f}."
        )
    return joined([element("p", None, said), matrix(compared, caption=caption)])


def _confidence(report: Report) -> Markup:
    from numpy import isfinite

    results = report.results
    said = "Confidence is the mean probability that the model gave to the words it wrote: "
    said += "its own certainty, and no measured accuracy."
    known = bool(isfinite(results.cell_type_probability).any())
    if known:
        said += (
            " The probability of being right is another thing: the bundle has it from labelled "
            "cells, and it holds for cells like those."
        )
    parts = [element("p", None, said)]
    shown = [
        (results.cell_type_confidence, "Cells by their confidence in the cell type"),
        (results.confidence, "Cells by their confidence in the whole text"),
    ]
    if known:
        title = "Cells by the probability that their cell type is right"
        shown.insert(0, (results.cell_type_probability, title))
    charts = [
        element("figure", None, histogram(values, title=title), tag("figcaption", "aside", title))
        for values, title in shown
    ]
    parts.append(element("div", {"class": "beside"}, *charts))
    if report.unsure is not None:
        called = "is" if report.unsure == 1 else "are"
        why = f"{_threshold(report)}, or no cell type in the text"
        said = f"{cells_words(report.unsure)} {called} called unsure: {why}."
        parts.append(element("p", None, said))
    if report.not_named:
        said = f"The texts of {cells_words(report.not_named)} name no cell type."
        if report.not_named == 1:
            said = "The text of 1 cell names no cell type."
        parts.append(element("p", None, said))
    if report.least_sure:
        rows = [
            [words(cell.cell), words(cell.name), f"{cell.confidence:.3f}"]
            for cell in report.least_sure
        ]
        head = ("cell", "type in its text", "confidence")
        parts.append(table(head, rows, caption="The cells that are least sure.", numbers=(2,)))
    return joined(parts)


def _threshold(report: Report) -> str:
    """What unsure cells are below, as far as the results say it."""
    about = report.results.about.get("unsure")
    try:
        below, compared = float(about["below"]), str(about["compared"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return "below the threshold of the run"
    return f"{words(compared.replace('_', ' '))} below the threshold of {below:g}"


def _errors(report: Report) -> Markup:
    rows = [[words(error, 400), count(cells)] for error, cells in report.failed]
    caption = "Why cells have no description, and how many."
    return table(("reason", "cells"), rows, caption=caption, numbers=(1,))


def _made(report: Report) -> Markup:
    results, part = report.results, report.cells_part
    rows = [("results", results.path.name), ("file of cells", part.name or "not given")]
    if results.left_out:
        rows.append(("cells that were not asked for", f"{results.left_out:,}"))
    rows += [(name, value) for name, value in _about(results.about)]
    rows += [
        ("fields", results.fields_from),
        ("picture", part.plane),
        ("top genes", part.genes_said),
        ("evidence", EVIDENCE_SAID if any(one.evidence for one in report.types) else "not given"),
        ("c2t that made this page", c2t.__version__),
    ]
    lines = [[words(name.replace("_", " ")), words(value, 600)] for name, value in rows]
    return table((), lines, kind="facts", caption="The run that wrote the descriptions.")


def _about(about: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in about.items():
        if isinstance(value, Mapping):
            yield from _about(value, f"{before}{name}: ")
        else:
            yield f"{before}{name}", str(value)


def _foot() -> str:
    return (
        f"Made by c2t {c2t.__version__} on this computer. The page needs no other file, runs no "
        "script and fetches nothing. Descriptions are a model's: check what matters."
    )
