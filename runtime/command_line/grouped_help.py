"""The help of a command with many options: grouped by what they are for.

One decision: one table for all commands, as an option means the same on each (but `--top-k`). What
it does not name is shown under "Other"; a test says which name is missing.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

MOST_TOGETHER = 12  # options, beside --help; fewer are one list
OTHER = "Other"
# Long names, less their dashes, by heading; both in the order of the help.
GROUPS = {
    "Output": (
        "output matrix write-obs cellxgene replace-columns embedding save-calibration "
        "propose-label-map fit-unsure restart force json"
    ),
    "Model": "family model chat text-model text-lower-case pooling leave-out name reference",
    "Checkpoint": (
        "geneformer llama checkpoint adapter token-dictionary gene-medians ensembl-mapping "
        "gene-names perceiver-heads perceiver-positions qformer-heads lora-alpha emb-layer top-k"
    ),
    "Prompt": (
        "system-message system-message-file user-message placeholder-token date chat-template "
        "template top-genes gene-order"
    ),
    "Captions": "phrases fields",
    "Random weights": "preset random projector",
    "Cells": "cells limit filter-pass",
    "Reading cells": (
        "part layer counts-are gene-column min-coverage organism species orthologues"
    ),
    "Groups of cells": "group-by per-group min-share resolution group-text",
    "Labels": (
        "labels label-template label-map label-column tissue-column disease-column sex-column "
        "age-column ontology uberon mondo calibration calibrate-on"
    ),
    "Text": (
        "max-new-tokens num-beams no-repeat-ngram-size early-stopping length-penalty "
        "repetition-penalty temperature top-p stop ignore-generation-config unsure-below"
    ),
    "Method": (
        "field label precision estimator smooth float-prefix cells-count against whole acceptance "
        "references captions-column bert-model question questions top runs repeats resamples seed "
        "unsure-target divergence-products"
    ),
    "Quality gate": (
        "gate gate-cells accuracy-tolerance similarity-tolerance least-agreement force-gate"
    ),
    "Doors": "host port http sila sila-port socket stdio drain-seconds",
    "Access": (
        "token-file insecure allow-host allow-origin allow-folder sila-insecure sila-certificate "
        "sila-key sila-client-authority"
    ),
    "Jobs": "jobs-folder keep-days upload-gib store-gib",
    "Qualification": "report system system-id site performer reviewer",
    "Engine and speed": "engine threads batch-size drafts prepack dask profile",
    "Trust and audit": "trust audit audit-key audit-head audit-reason",
    OTHER: "help",
}


def group_of(option: str) -> str:
    """The heading of an option, by its long name with dashes; `OTHER` if the table lacks it."""
    word = option.removeprefix("--")
    return next((name for name, words in GROUPS.items() if word in words.split()), OTHER)


def grouped(options: list[Any], names: list[str]) -> dict[str, list[Any]]:
    """Options by their heading, in the order of the table; within one, in their own.

    Args:
        options: Of one command.
        names: The long name of each.
    """
    if len(options) - 1 <= MOST_TOGETHER:
        return {"Options": options}
    found: dict[str, list[Any]] = {heading: [] for heading in GROUPS}
    # Of an export, --top-k counts the encoder's rows; where tokens are drawn, those to draw from.
    drawn = "--temperature" in names
    for option, name in zip(options, names, strict=True):
        found[group_of("--top-p" if drawn and name == "--top-k" else name)].append(option)
    return {heading: members for heading, members in found.items() if members}


class GroupedCommand(TyperCommand):
    """A command whose `--help` groups its options where they are many."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options under their headings."""
        arguments, options, names = [], [], []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                arguments.append(record)
            else:
                options.append(record)
                names.append(next(name for name in parameter.opts if name.startswith("--")))
        sections = {"Arguments": arguments} if arguments else {}
        for heading, records in {**sections, **grouped(options, names)}.items():
            with formatter.section(heading):
                formatter.write_dl(records)
