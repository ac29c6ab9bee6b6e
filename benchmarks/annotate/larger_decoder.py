"""What scoring 30 labels costs beside writing texts, with a decoder of 110 million random weights.

    python benchmarks/annotate/larger_decoder.py BUNDLE -o benchmarks/results/annotate_larger.json

BUNDLE is the demonstration bundle: its tokenizer gives the labels' tokens, its prompt the lengths.
Texts are written in turns with the scoring, one token a step, and with drafts from a phrase table
that was made of these very texts: no drafts are better. So the second is the hardest comparison.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from labels import CAPTION_TABLE, MORE_LABELS
from transformers import LlamaForCausalLM

from c2t.export.decoders.llama import preset, write_decoder_graph
from c2t.runtime.bench.interleave import interleave, median_ratio, spread
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.manifest import Decoder, Generation
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.kernel_step import with_step_kernel
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.candidate_names import candidate_names
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.generation.scoring import CandidateScorer
from c2t.runtime.generation.sequence import FixedCells, GeneratedSequence, PromptedCell

SEED = 0
SIZES = {
    **{"layers": 12, "hidden_size": 768, "heads": 12, "kv_heads": 4, "head_size": 64},
    **{"intermediate_size": 3072, "vocabulary_size": 32_000},
}
POSITIONS = 512


def make_decoder(folder: Path, options: EngineOptions) -> tuple[OnnxRuntimeDecoder, str]:
    """A decoder of random weights, and who runs its short steps."""
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(preset(**SIZES)).eval()
    path = folder / "decoder.onnx"
    place = write_decoder_graph(model, path, max_positions=POSITIONS)
    sizes = Decoder(
        model="Llama of random weights",
        layers=SIZES["layers"],
        hidden_size=SIZES["hidden_size"],
        heads=SIZES["heads"],
        kv_heads=SIZES["kv_heads"],
        head_size=SIZES["head_size"],
        vocabulary_size=SIZES["vocabulary_size"],
        max_positions=POSITIONS,
        token_embedding=place,
    )
    embeddings = model.get_input_embeddings().weight.detach().numpy().copy()
    decoder = OnnxRuntimeDecoder(path, sizes, embeddings, options)
    return decoder, with_step_kernel(decoder, path, sizes, options)


def written(
    decoder: OnnxRuntimeDecoder,
    prompts: PromptRunner,
    cells: list[CellPrompt],
    *,
    drafter: Drafter | None = None,
) -> list[GeneratedSequence]:
    """The texts of all cells, side by side."""
    search = GreedySearch(
        decoder,
        prompts,
        generation=Generation(max_new_tokens=100),
        rows=len(cells),
        capacity=POSITIONS,
        drafter=drafter,
    )
    prompted = FixedCells(PromptedCell(number, cell) for number, cell in enumerate(cells))
    found = dict(search.run(prompted))
    return [found[number] for number in range(len(cells))]


def measure(bundle: Bundle, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of scoring and of writing, in turns."""
    decoder, steps = make_decoder(folder, EngineOptions(threads=options.threads))
    table = json.loads(CAPTION_TABLE.read_text(encoding="utf-8"))
    names = candidate_names(bundle, [*table["cell_types"], *MORE_LABELS])
    draw = np.random.default_rng(SEED)
    shape = bundle.manifest.projector.vectors, SIZES["hidden_size"]
    of_bundle = bundle_prompts(bundle)
    cells = [
        of_bundle.of_vectors((draw.standard_normal(shape) * 0.02).astype(np.float32))
        for _ in range(options.cells)
    ]
    prompts = of_bundle.runner(decoder)
    texts = written(decoder, prompts, cells)
    drafter = Drafter(build_phrase_table([text.token_ids for text in texts]))
    scorer = CandidateScorer(decoder, prompts, rows=options.cells)
    drafted = written(decoder, prompts, cells, drafter=drafter)
    times = interleave(
        {
            "score": lambda: scorer.score(cells, names.trie),
            "write with drafts": lambda: written(decoder, prompts, cells, drafter=drafter),
            "write": lambda: written(decoder, prompts, cells),
        },
        options.rounds,
        warm_up=1,
    )
    return {
        "decoder": SIZES,
        "short_steps": steps,
        "cells": options.cells,
        "labels": len(names),
        "tokens_run_for_labels": names.trie.runs,
        "steps_of_a_text": float(np.mean([text.steps for text in texts])),
        "steps_of_a_text_with_drafts": float(np.mean([text.steps for text in drafted])),
        "seconds": {name: vars(spread(seconds)) for name, seconds in times.items()},
        "score_over_write_with_drafts": median_ratio(times["score"], times["write with drafts"]),
        "score_over_write": median_ratio(times["score"], times["write"]),
    }


def main() -> None:
    """Make the decoder, and time in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("annotate_larger", threads=options.threads, seed=SEED)
    with TemporaryDirectory() as folder:
        found = measure(open_bundle(options.bundle), Path(folder), options)
    document |= found
    targets = [
        target(
            f"30 labels, times faster than half the speed of writing {how}",
            2 / found[f"score_over_{what}"],
            1.0,
        )
        for how, what in (("with drafts", "write_with_drafts"), ("without drafts", "write"))
    ]
    finish(document, targets, options.output)


if __name__ == "__main__":
    main()
