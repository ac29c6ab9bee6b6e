"""What the page says of each described type: the table of all, and an article for each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from c2t.runtime.report.charts import share_bar, swatch
from c2t.runtime.report.evidence import TypeEvidence
from c2t.runtime.report.html import TEXT_MAX, count, joined, percent, table, tag, words
from c2t.runtime.report.report import ListedType, Report, TypePart, term_link
from c2t.runtime.summary.categories import cells_words
from c2t.runtime.summary.top_genes import LEAST_CELLS
from c2t.runtime.system.svg import Markup, element

NUMBERS = ("cells", "share", "unsure", "confidence")  # columns that are set to the right
_GENES_MAX = 10  # of the evidence; how many top genes there are is asked for
_AGAINST_MAX = 3


def type_table(report: Report) -> Markup:
    """All types with ids, cells, shares, unsure cells and confidence.

    Every cell is counted once, by what its text says: the shares add up to 100 %.
    """
    has_terms = any(part.term is not None for part in report.types)
    rows: list[list[str]] = []
    for part in report.types:
        named = joined([swatch(part.number, str(part.number + 1)), _plain(part.name)])
        sure = "" if math.isnan(part.confidence) else f"{part.confidence:.3f}"
        bar = share_bar(part.share, part.number)
        share, unsure = percent(part.share), count(part.unsure)
        rows.append([named, term_words(part.term), count(part.cells), bar, share, unsure, sure])
    rows += [_line(one) for one in report.listed]
    if report.unlisted:
        listed: list[TypePart | ListedType] = [*report.types, *report.listed, *report.apart]
        cells = len(report.results.cells)
        rest = cells - sum(one.cells for one in listed)
        marked = int(report.grey.sum()) - sum(one.unsure for one in listed)
        name = f"and {report.unlisted:,} rarer type{'s' * (report.unlisted != 1)}"
        rows.append(_line(ListedType(name=name, cells=rest, share=rest / cells, unsure=marked)))
    rows += [_line(one) for one in report.apart]
    head = ["type", "ontology id", "cells", "", "share", "unsure", "confidence"]
    caption = "Described types, the most frequent first. Confidence is the median over cells."
    if report.unsure is not None:
        caption += " Every cell counts by what its text says; unsure is how many of them are."
    drop = [1] * (not has_terms) + [head.index("unsure")] * (report.unsure is None)
    for line in (head, *rows):
        for place in reversed(drop):
            del line[place]
    return table(
        head,
        rows,
        caption=caption,
        kind="types",
        numbers=[place for place, name in enumerate(head) if name in NUMBERS],
    )


def _line(one: ListedType) -> list[str]:
    share = share_bar(one.share, -1), percent(one.share)
    return [words(one.name), "", count(one.cells), *share, count(one.unsure), ""]


def type_article(part: TypePart, *, compared: bool = True) -> Markup:
    """One type: its text, its genes, what else its cells say.

    Args:
        part: The type.
        compared: Whether the types were compared for their top genes.
    """
    line = f"{cells_words(part.cells)}, {percent(part.share)}"
    if part.unsure:
        line += f", {count(part.unsure)} of them unsure"
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
        genes = [(gene.name, f"{gene.difference:+.2f}") for gene in part.genes]
        parts.append(_genes("Top genes, by difference of mean log counts", genes))
    elif compared:
        why = "no gene is higher in it than in the other cells"
        if part.cells < LEAST_CELLS:
            why = f"a type of fewer than {LEAST_CELLS} cells is not compared"
        parts.append(tag("p", "aside", f"No top genes: {why}."))
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
    cells = cells_words(found.cells).replace("cell", "explained cell")
    if not chosen:
        said = f"No single gene moves the words, in {cells}."
        return element("div", {"class": "evidence"}, tag("p", "aside", said))
    used = []
    for gene in chosen:
        of = f"{count(max(round(gene.share * found.cells), 1))} of {count(found.cells)}"
        used.append((gene.name, f"{gene.evidence:+.2f} in {of}"))
    return _genes(f"Genes that the model's words rest on, in {cells}", used)


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
