"""Options that several commands have: one name, one bound and one help text for each."""

from typing import Annotated

import typer

LayerOption = Annotated[
    str | None, typer.Option(help='Matrix with the counts: "X", "raw" or a layer\'s name.')
]
GeneColumnOption = Annotated[
    str | None, typer.Option(help="Column of `var` with Ensembl ids or symbols.")
]
AccuracyToleranceOption = Annotated[
    float, typer.Option(min=0, help="Accuracy that may be lost, in percentage points.")
]
SimilarityToleranceOption = Annotated[
    float, typer.Option(min=0, help="Ontology similarity that may be lost, in percent.")
]
LeastAgreementOption = Annotated[
    float, typer.Option(min=0, max=100, help="Tokens that must be the same, in percent.")
]
