"""What the page says of each described type: the table of all, and an article for each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from c2t.runtime.report.charts import share_bar, swatch
from c2t.runtime.report.evidence import TypeEvidence
from c2t.runtime.report.html import TEXT_MAX, count, joined, percent, table, tag, words
from c2t.runtime.report.report import Report, TypePart, term_link
from c2t.runtime.system.svg import Markup, element

NUMBERS = ("cells", "share", "confidence")  # columns that are set to the right
_GENES_MAX = 10
_AGAINST_MAX = 3


def type_table(report: Report) -> Markup:
    """All types with ids, cells, shares and confidence."""
    has_terms = any(part.term is not None for part in report.types)
    rows: list[list[str]] = []
    for part in report.types:
        named = joined([swatch(part.number, str(part.number + 1)), _plain(part.name)])
        sure = "" if math.isnan(part.confidence) else f"{part.confidence:.3f}"
        bar = share_bar(part.share, part.number)
        rows.append(
            [named, term_words(part.term), count(part.cells), bar, percent(part.share), sure]
        )
    for name, number, share in report.listed:
        rows.append([words(name), "", count(number), share_bar(share, -1), percent(share), ""])
    head = ["type", "ontology id", "cells", "", "share", "confidence"]
    if not has_terms:
        for line in (head, *rows):
            del line[1]
    made = table(
        head,
        rows,
        caption="Described types, the most frequent first. Confidence is the median over cells.",
        kind="types",
        numbers=[place for place, name in enumerate(head) if name in NUMBERS],
    )
    if not report.unlisted:
        return made
    return joined([made, tag("p", "aside", f"and {report.unlisted:,} rarer types")])


def type_article(part: TypePart) -> Markup:
    """One type: its text, its genes, what else its cells say."""
    line = f"{count(part.cells)} cells, {percent(part.share)}"
    heading: list[str] = [
        swatch(part.number, str(part.number + 1)),
        element("h3", None, words(part.name)),
        tag("span", "aside", line),
    ]
    if part.term is not None:
        heading.append(tag("span", "aside", term_words(part.term)))
    parts = [element("header", None, *heading)]
    if part.text is not None:
        parts.append(element("blockquote", None, words(part.text, TEXT_MAX)))
        which = (
            f"All {count(part.cells)} cells have this text."
            if part.text_cells == part.cells > 1
            else f"The text of {count(part.text_cells)} of the {count(part.cells)} cells."
            if part.text_cells > 1
            else "All texts differ; this is the one with the highest confidence."
            if part.cells > 1
            else "The text of this cell."
        )
        parts.append(tag("p", "aside", which))
    if part.genes:
        genes = [(gene.name, f"{gene.difference:+.2f}") for gene in part.genes[:_GENES_MAX]]
        parts.append(_genes("Top genes, by difference of mean log counts", genes))
    if part.evidence is not None:
        parts.append(_evidence(part.evidence))
    if part.also:
        parts.append(element("ul", {"class": "says"}, joined(_also(part))))
    return element("article", {"class": "type"}, *parts)


def _also(part: TypePart) -> Iterator[Markup]:
    """What else the texts of a type say, with the shares of its cells."""
    for name, values in part.also:
        if values:
            title = element("strong", None, f"{name.replace('_', ' ').capitalize()}: ")
            said = ", ".join(f"{words(value)} {percent(share)}" for value, share in values)
            yield element("li", None, title, said)


def _evidence(found: TypeEvidence) -> Markup:
    """The genes for a type's words, and those against them."""
    chosen = [gene for gene in found.genes if gene.evidence > 0][:_GENES_MAX]
    chosen += [gene for gene in found.genes if gene.evidence < 0][:_AGAINST_MAX]
    cells = "1 explained cell" if found.cells == 1 else f"{count(found.cells)} explained cells"
    title = f"Genes that the model's words rest on, in {cells}"
    used = [(gene.name, f"{gene.evidence:+.2g} in {percent(gene.share)}") for gene in chosen]
    return _genes(title, used or [("none", "moved the words beyond the noise")])


def _genes(title: str, genes: list[tuple[str, str]]) -> Markup:
    said = joined(
        element("li", None, tag("span", "gene", words(name, 40)), " ", tag("span", "aside", value))
        for name, value in genes
    )
    listed = element("ul", {"class": "genes"}, said)
    return element("div", {"class": "evidence"}, element("h4", None, title), listed)


def term_words(term: str | None) -> str:
    """An ontology id, as a link where it is one."""
    if term is None:
        return ""
    address = term_link(term)
    if address is None:
        return words(term)
    return element("a", {"href": address, "rel": "noopener noreferrer"}, term)


def _plain(name: str) -> Markup:
    return element("span", None, words(name))
