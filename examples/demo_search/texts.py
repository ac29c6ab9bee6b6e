"""Texts that the text tower learns from, and which cells each of them fits.

One decision: a text knows all cells that it fits (a type, several types, an origin). So no pair of
a batch is taken for wrong only because it was not drawn together, as in plain CLIP training.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from c2t.examples.demo.captions import Donor, caption_parts, read_caption_table
from c2t.examples.demo_search.cell_embeddings import EmbeddedCells

HERE = Path(__file__).parent
ONTOLOGY_BYTES_MAX = 64 << 20
CAPTION_PARTS = 5  # of a caption: type, definition, origin; pathways are left out
DEFINITION_SENTENCES = 2  # of the Cell Ontology's


@dataclass(frozen=True, kw_only=True)
class TrainingText:
    """A text, and what a cell must be for it to fit; None: anything."""

    text: str
    kind: str  # "type", "group", "origin" or "caption"
    types: frozenset[str] | None = None
    origin: tuple[str, str] | None = None  # tissue, disease

    def fits(self, cell_type: str, donor: Donor) -> bool:
        """Whether it fits a cell of this type and origin."""
        origin = (donor.tissue, donor.disease)
        return (self.types is None or cell_type in self.types) and self.origin in (None, origin)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A phrase to search for, and which cells are right."""

    text: str
    types: frozenset[str] | None
    origin: tuple[str, str] | None  # tissue, disease

    def right(self, cell_types: Sequence[str], donors: Sequence[Donor]) -> NDArray[np.bool_]:
        """Which cells [N] are right."""
        wanted = TrainingText(text=self.text, kind="query", types=self.types, origin=self.origin)
        return np.array([wanted.fits(*cell) for cell in zip(cell_types, donors, strict=True)])


def read_queries(part: str) -> list[Query]:
    """The queries of `queries.json`: "test" or "choice"."""
    entries = json.loads((HERE / "queries.json").read_text(encoding="utf-8"))[part]
    return [
        Query(text=entry["text"], types=_types(entry), origin=_origin(entry)) for entry in entries
    ]


def read_frames() -> list[str]:
    """Sentences around a text, with {} in its place."""
    frames: list[str] = own_texts()["frames"]
    return frames


def training_texts(ontology: Path, cells: EmbeddedCells) -> tuple[list[TrainingText], list[str]]:
    """All training texts, and those left out because they are a query.

    Args:
        ontology: The Cell Ontology as zstd JSON (id -> label, description, synonyms).
        cells: Their types and origins occur in captions.
    """
    terms = _read_ontology(ontology)
    texts = list(dict.fromkeys([*_own(terms), *_captions(cells)]))
    queries = {_words(query.text) for part in ("test", "choice") for query in read_queries(part)}
    left_out = [text.text for text in texts if _words(text.text) in queries]
    return [text for text in texts if _words(text.text) not in queries], left_out


def own_texts() -> dict[str, Any]:
    """The phrases of `texts.json`: by type, by group of types, by origin; and the frames."""
    texts: dict[str, Any] = json.loads((HERE / "texts.json").read_text(encoding="utf-8"))
    return texts


def _own(terms: dict[str, Any]) -> Iterator[TrainingText]:
    """Our own phrases, and what the Cell Ontology says of the terms that they name."""
    own, table = own_texts(), read_caption_table()
    for name, entry in own["types"].items():
        phrases = [name, table.definitions[name], *entry["phrases"], *_said(terms, entry)]
        for phrase in phrases:
            yield TrainingText(text=phrase, kind="type", types=frozenset([name]))
    for entry in own["groups"]:
        for phrase in [*entry["phrases"], *_said(terms, entry)]:
            yield TrainingText(text=phrase, kind="group", types=frozenset(entry["types"]))
    for entry in own["origins"]:
        for phrase in entry["phrases"]:
            yield TrainingText(text=phrase, kind="origin", origin=_origin(entry))


def _said(terms: dict[str, Any], entry: dict[str, Any]) -> Iterator[str]:
    """Labels, synonyms and first sentences of the definitions of an entry's terms."""
    for term in entry["ontology"]:
        found = terms[term]
        yield found["label"]
        yield from found.get("synonyms") or []
        sentences = re.split(r"(?<=\.) ", found.get("description") or "")
        yield from filter(None, sentences[:DEFINITION_SENTENCES])


def _captions(cells: EmbeddedCells) -> Iterator[TrainingText]:
    """What captions of the cells say of type and origin."""
    table = read_caption_table()
    pathways = sorted(table.pathways)
    for cell_type, donor in dict.fromkeys(zip(cells.cell_types, cells.donors, strict=True)):
        parts = caption_parts(table, cell_type, donor, (pathways[0], pathways[1]))
        yield TrainingText(
            text="".join(part.text for part in parts[:CAPTION_PARTS]),
            kind="caption",
            types=frozenset([cell_type]),
            origin=(donor.tissue, donor.disease),
        )


def _types(entry: dict[str, Any]) -> frozenset[str] | None:
    return frozenset(entry["types"]) if "types" in entry else None


def _origin(entry: dict[str, Any]) -> tuple[str, str] | None:
    return (entry["tissue"], entry["disease"]) if "tissue" in entry else None


def _words(text: str) -> frozenset[str]:
    """The words of a text without case and plural, whatever their order."""
    return frozenset(word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", text.lower()))


def _read_ontology(path: Path) -> dict[str, Any]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        terms: dict[str, Any] = json.loads(stream.read(ONTOLOGY_BYTES_MAX))
    return terms


def fitting(texts: Sequence[TrainingText], cells: EmbeddedCells) -> NDArray[np.bool_]:
    """Which of the texts [T] fit which cells [N]: [N, T]."""
    kinds = list(zip(cells.cell_types, cells.donors, strict=True))
    rows = {kind: [text.fits(*kind) for text in texts] for kind in dict.fromkeys(kinds)}
    return np.array([rows[kind] for kind in kinds])


def varied_text(text: str, frames: Sequence[str], *, drop: float, rng: np.random.Generator) -> str:
    """A text in some frame, some of its words left out."""
    words = text.split()
    kept: Iterable[str] = [word for word in words if rng.random() >= drop] or words
    return str(rng.choice(list(frames))).replace("{}", " ".join(kept))
