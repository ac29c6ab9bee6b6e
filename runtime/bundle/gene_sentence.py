"""What a manifest says of cells that become text."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GeneSentence:
    """How a cell becomes text: its gene symbols, the highest counts first (Cell2Sentence).

    They are the field {genes} of the bundle's template. Symbols are in upper case; of equal counts
    the smaller symbol, byte by byte, comes first.
    """

    genes: int  # most genes of a sentence
    # What the field {organism} says of each species that the model knows, by the name of the
    # species: {"human": "Homo sapiens"}
    organisms: dict[str, str]
    separator: str = " "
