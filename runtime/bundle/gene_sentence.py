"""What a manifest says of cells that become text."""

import msgspec


class GeneSentence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a cell becomes text: its gene symbols, the highest counts first (Cell2Sentence).

    They are the field {genes} of the bundle's template. Of equal counts the smaller symbol, byte by
    byte, comes first. Where the bundle has a list of genes, a cell has those of the list that it
    expresses, in the list's order and spelling, whatever their counts (CellReasoner).

    What is as in the first bundles is not written, so that older versions of c2t read the others.
    """

    genes: int  # most genes of a sentence
    # What the field {organism} says of each species that the model knows, by the name of the
    # species: {"human": "Homo sapiens"}
    organisms: dict[str, str]
    separator: str = " "
    upper_case: bool = True  # else symbols are spelled as the file of cells has them
    listed: int = 0  # genes of the bundle's list, `gene_order.txt`; 0: it has none
