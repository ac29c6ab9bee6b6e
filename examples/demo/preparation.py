"""Labelled files become cells, genes, captions and a tokenizer, for training and evaluation.

One decision: both rebuild them from the files. So no prepared data is kept, and a changed rule
leaves no stale data behind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from transformers import PreTrainedTokenizerFast

from c2t.examples.demo.captions import (
    CaptionPart,
    CaptionTable,
    caption_parts,
    caption_text,
    possible_captions,
    read_caption_table,
)
from c2t.examples.demo.cells import LabelledSet, read_gene_symbols, read_labelled_sets
from c2t.examples.demo.gene_table import build_genes, choose_genes, counts_of_genes
from c2t.examples.demo.pathway_activity import most_active, read_gene_sets
from c2t.examples.demo.sampling import DECISION_WEIGHT, CellPool
from c2t.examples.demo.text_tokenizer import END_OF_TURN, FIXED_DATE, train_tokenizer
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.loaded_checkpoint import PLACEHOLDER_TOKEN, USER_MESSAGE, CheckpointSettings
from c2t.runtime.bundle.manifest import Generation, Licence

SYSTEM_MESSAGE = "Describe the cell."


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The files that training reads."""

    cell_files: tuple[Path, ...]  # labelled .h5ad; the stem is looked up in the caption table
    gene_sets: Path  # hallmark gene sets, GMT with symbols
    gene_table: Path  # CELLxGENE gene table, gzipped CSV
    min_cells: int = 20  # see `choose_genes`


@dataclass(frozen=True, kw_only=True, eq=False)
class Preparation:
    """Cells, genes, captions and tokenizer, ready for training and evaluation."""

    table: CaptionTable
    sets: list[LabelledSet]
    genes: EncoderVocabulary
    pool: CellPool
    captions: list[str]
    cell_type_names: list[str]
    tokenizer: PreTrainedTokenizerFast
    settings: CheckpointSettings


def prepare(
    sources: Sources, *, text_vocabulary: int, report: Callable[[str], None] = print
) -> Preparation:
    """Read the files, choose genes, find active pathways, write captions, train the tokenizer."""
    table = read_caption_table()
    symbols = read_gene_symbols(sources.gene_table)
    unknown = [path.name for path in sources.cell_files if path.stem not in table.sets]
    if unknown:
        problem = f"caption_table.json has no entry for {', '.join(unknown)}"
        raise ValueError(problem)
    # The table's order, so that the order of the arguments does not change the result.
    files = sorted(sources.cell_files, key=lambda path: list(table.sets).index(path.stem))
    sets = read_labelled_sets(files, table, symbols)
    chosen = choose_genes(sets, min_cells=sources.min_cells)
    counts = [counts_of_genes(labelled, chosen) for labelled in sets]
    genes = build_genes(sets, chosen, counts, symbols)
    report(f"{sum(len(s.cell_ids) for s in sets):,} labelled cells, {len(chosen):,} genes")

    parts: list[list[CaptionPart]] = []
    gene_sets = read_gene_sets(sources.gene_sets)
    for labelled in sets:
        report(f"AUCell of {labelled.name}")
        active = most_active(labelled, gene_sets)
        rows = zip(labelled.cell_types, labelled.donors, active, strict=True)
        parts += [caption_parts(table, *row) for row in rows]

    possible = [caption_text(caption) for caption in possible_captions(table)]
    settings = checkpoint_settings()
    messages = [settings.system_message, settings.user_message, f"Today Date: {FIXED_DATE}"]
    tokenizer = train_tokenizer(
        [*possible, *messages, "system user assistant"], vocabulary_size=text_vocabulary
    )
    end = int(tokenizer.convert_tokens_to_ids(END_OF_TURN))
    settings = replace(settings, generation=replace(settings.generation, eos_token_ids=(end,)))
    repeated = repeated_trigrams(tokenizer, possible)
    if repeated:
        problem = f"captions repeat three tokens, which generation forbids: {repeated}"
        raise ValueError(problem)
    return Preparation(
        table=table,
        sets=sets,
        genes=genes,
        pool=_build_pool(sets, counts, genes, parts, tokenizer, list(table.definitions)),
        captions=[caption_text(caption) for caption in parts],
        cell_type_names=list(table.definitions),
        tokenizer=tokenizer,
        settings=settings,
    )


def checkpoint_settings() -> CheckpointSettings:
    """Messages, generation defaults and licences of the checkpoint."""
    return CheckpointSettings(
        name="c2t-demo",
        system_message=SYSTEM_MESSAGE,
        user_message=USER_MESSAGE,
        placeholder_token=PLACEHOLDER_TOKEN,
        generation=Generation(max_new_tokens=100, num_beams=1, no_repeat_ngram_size=3),
        licences=(
            Licence(
                part="weights",
                licence="see the model card beside the checkpoint",
                notice="A demonstration trained on public data; never for conclusions about cells.",
            ),
        ),
    )


def repeated_trigrams(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> set[str]:
    """Three tokens in a row that some caption has twice, its end token included."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    repeated: set[str] = set()
    for ids in tokenizer(list(captions), add_special_tokens=False)["input_ids"]:
        ids = [*ids, end]
        seen: set[tuple[int, ...]] = set()
        for start in range(len(ids) - 2):
            trigram = tuple(ids[start : start + 3])
            if trigram in seen:
                repeated.add(tokenizer.decode(trigram))
            seen.add(trigram)
    return repeated


def _build_pool(
    sets: Sequence[LabelledSet],
    counts: Sequence[object],
    genes: EncoderVocabulary,
    parts: Sequence[list[CaptionPart]],
    tokenizer: PreTrainedTokenizerFast,
    cell_type_names: list[str],
) -> CellPool:
    groups = [f"{s.name}/{group}" for s in sets for group in s.groups]
    caption, weight = zip(*(_tokens_and_weights(tokenizer, p) for p in parts), strict=True)
    names = genes.ensembl_id.astype(str)
    return CellPool(
        counts=vstack(counts).tocsr(),
        medians=genes.median,
        set_of=np.repeat(np.arange(len(sets)), [len(s.cell_ids) for s in sets]),
        group_of=np.unique(groups, return_inverse=True)[1],
        cell_type=np.array([cell_type_names.index(t) for s in sets for t in s.cell_types]),
        caption=list(caption),
        weight=list(weight),
        held_out=np.concatenate([s.held_out for s in sets]),
        panels=[np.isin(names, s.gene_ids) for s in sets],
    )


def _tokens_and_weights(
    tokenizer: PreTrainedTokenizerFast, parts: list[CaptionPart]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tokens of the whole caption, each with the weight of the part in which it begins."""
    encoded = tokenizer(caption_text(parts), add_special_tokens=False, return_offsets_mapping=True)
    ends = np.cumsum([len(part.text) for part in parts])
    starts = np.array([begin for begin, _ in encoded["offset_mapping"]])
    place = np.searchsorted(ends, starts, side="right")
    weights = [DECISION_WEIGHT[parts[p].decision] for p in place]
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    return (
        np.array([*encoded["input_ids"], end], dtype=np.int64),
        np.array([*weights, DECISION_WEIGHT["template"]], dtype=np.float32),
    )
