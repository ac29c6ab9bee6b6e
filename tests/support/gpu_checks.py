"""What must hold on a GPU: kernels against their definitions, engines against those of the CPU.

`tests/gpu` runs these checks on the GPU of this machine. `tests/gpu/test_checks.py` runs them on a
fake of it, and shows that each of them can fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tolerance import FLOAT32

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.layout import ROWS
from c2t.kernels.gene_embedding.cuda import DeviceCells, DeviceTables, launch_gene_embedding
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables, convert_tables
from c2t.kernels.tokens.cuda import (
    DeviceTokenTable,
    choice_scratch_bytes,
    launch_choose_tokens,
    launch_token_rows,
)
from c2t.kernels.tokens.definition import choose_tokens_reference, token_rows_reference
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Generation, Prompt
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.open import open_engines
from c2t.runtime.generation.bundle_prompts import bundle_prompts, vector_prompts
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import FixedCells, GeneratedSequence, PromptedCell

POISON = 0x2B  # bytes of a buffer that a kernel must overwrite
# |difference| / (1 + |definition|) of an embedding. float16 and bfloat16 (uint16) round once more.
EMBEDDING_TOLERANCE = {"float32": FLOAT32, "float16": 2.0**-10, "uint16": 2.0**-7}
# |difference| / largest |logit|. float16 has 11 bits, and the layers add up.
LOGIT_TOLERANCE = {"float32": 1e-3, "float16": 3e-2}
SPREAD = np.float32(0.02)  # of cell vectors, as text embeddings have


def check_gene_embedding(device: Any, hidden_size: int, storage: str, dtype: str) -> None:
    """Compare embeddings of full, empty and short cells, in a poisoned buffer."""
    draw = np.random.default_rng(0)
    vocabulary, ranks = 300, 61
    lengths = np.array([61, 0, 1, 17, 60], np.int32)
    tokens = draw.integers(0, vocabulary, (len(lengths), ranks)).astype(np.int32)
    tokens[3, :17] = [0, vocabulary - 1] * 8 + [0]
    tables = convert_tables(
        GeneEmbeddingTables(
            word=draw.standard_normal((vocabulary, hidden_size), np.float32),
            position=draw.standard_normal((4096, hidden_size), np.float32),
            token_type=draw.standard_normal(hidden_size, np.float32),
            gamma=draw.standard_normal(hidden_size, np.float32),
            beta=draw.standard_normal(hidden_size, np.float32),
        ),
        np.dtype(storage),
    )
    scale = 0.03 if dtype == "int8" else None
    expected = np.empty((len(lengths), ranks, hidden_size), dtype)
    embed_genes_reference(tokens, lengths, tables, expected, out_scale=scale)
    out = DeviceArray.upload(np.full_like(expected, POISON))
    cells = DeviceCells.upload(tokens, lengths, tables)
    on_device = DeviceTables.upload(tables)
    launch_gene_embedding(device, cells, on_device, out.pointer, dtype=dtype, out_scale=scale)
    device.synchronize()
    _compare_embeddings(out.download(), expected)


def _compare_embeddings(result: np.ndarray, expected: np.ndarray) -> None:
    if result.dtype == np.int8:
        # A sum just beside a rounding boundary may round to the next integer.
        steps = np.abs(result.astype(int) - expected)
        assert steps.max() <= 1
        assert (steps > 0).mean() < 1e-3
        return
    tolerance = EMBEDDING_TOLERANCE[result.dtype.name]
    if result.dtype == np.uint16:
        result, expected = (
            (a.astype(np.uint32) << 16).view(np.float32) for a in (result, expected)
        )
    a, b = result.astype(np.float64), expected.astype(np.float64)
    assert (np.abs(a - b) / (1 + np.abs(b))).max() <= tolerance


def check_token_rows(device: Any, storage: str, dtype: str) -> None:
    """Compare the decoder's input of tokens, and of rows that are given. Equal to the bit."""
    draw = np.random.default_rng(0)
    count, vocabulary, hidden_size = 77, 300, 2048
    rows = (draw.standard_normal((vocabulary, hidden_size)) * 50).astype(storage)
    scale = draw.random(vocabulary).astype(np.float32) if storage == "int8" else None
    token_ids = draw.integers(-1, vocabulary, count).astype(np.int32)
    given = draw.standard_normal((count, hidden_size), np.float32)
    table = DeviceTokenTable.upload(rows, scale)
    inputs = DeviceArray.upload(token_ids), DeviceArray.upload(given)
    out = DeviceArray.allocate((count, hidden_size), dtype)
    launch_token_rows(
        device,
        table,
        token_ids=inputs[0].pointer,
        given=inputs[1].pointer,
        out=out.pointer,
        count=count,
        dtype=dtype,
    )
    device.synchronize()
    expected = token_rows_reference(token_ids, rows, scale, given, dtype)
    np.testing.assert_array_equal(out.download(), expected)


def check_choice(device: Any, vocabulary: int, dtype: str) -> None:
    """Compare choices with ties, bans, NaN and infinity; a choice must not depend on other rows."""
    draw = np.random.default_rng(0)
    count, bans = 40, 9
    logits = (draw.standard_normal((count, vocabulary)) * 5).astype(dtype)
    logits[1, 50] = logits[1, 7] = 60
    logits[2, 5], logits[3, 6] = np.nan, np.inf
    banned = draw.integers(-1, vocabulary, (count, bans)).astype(np.int32)
    banned[4:, 0] = logits[4:].argmax(axis=1)
    inputs = DeviceArray.upload(logits), DeviceArray.upload(banned)
    scratch = DeviceArray.zeros((choice_scratch_bytes(count, vocabulary),), np.uint8)
    results = [DeviceArray.allocate((count,), kind) for kind in ("i4", "f4", "i4")]

    def choose(rows: int) -> list[np.ndarray]:
        launch_choose_tokens(
            device,
            logits=inputs[0].pointer,
            dtype=dtype,
            banned=inputs[1].pointer,
            bans=bans,
            scratch=scratch.pointer,
            tokens=results[0].pointer,
            probability=results[1].pointer,
            finite=results[2].pointer,
            count=rows,
            vocabulary_size=vocabulary,
        )
        device.synchronize()
        return [array.download()[:rows] for array in results]

    tokens, probability, finite = together = choose(count)
    expected = choose_tokens_reference(logits, banned)
    right = expected[2]
    np.testing.assert_array_equal(finite.astype(bool), right)
    np.testing.assert_array_equal(tokens[right], expected[0][right])
    np.testing.assert_allclose(probability[right], expected[1][right], rtol=1e-4)
    for rows in (1, 17, count):  # each launch leaves the scratch fit for the next
        for before, now in zip(together, choose(rows), strict=True):
            assert now.tobytes() == before[:rows].tobytes()


class StepLogits:
    """Logits of a decoder's steps behind one prompt, by the kernel of short steps or the library.

    Args:
        decoder: A `DeviceDecoder` whose graph is a `DecoderStepGraph`.
        prompt: The prompt.
        vectors: Cell vectors [K, D].
    """

    def __init__(self, decoder: Any, prompt: Prompt, vectors: np.ndarray) -> None:
        self._decoder, self._kernel = decoder, decoder.graph
        cell = vector_prompts(prompt).of_vectors(vectors)
        self._length = len(cell)
        kernel = self._kernel
        divided = 2 * kernel.rows + 1 if kernel.weights.layout.has_int8 else kernel.rows
        self.rows: int = divided  # of the largest step; of one in int8, in three groups
        self.tokens = (1, 4, *(rows for rows in ROWS[1:] if rows <= kernel.rows), divided)
        self._cache = decoder.new_cache(1, self._length + 2 * self.rows)
        PromptRunner(decoder, prompt.prefix_ids).prefill(self._cache, 0, cell)

    def __call__(self, tokens: int, first: int = 0, *, library: bool = False) -> np.ndarray:
        """Logits [tokens, V] of the tokens from `first` on of one text."""
        self._decoder.graph = self._kernel.library if library else self._kernel
        try:
            self._cache.steps.clear()  # those that are kept run the other graph
            step = bind_step(self._decoder, self._cache, tokens, self._length + first)
            step.token_ids[0] += first
            logits: np.ndarray = step.run()[0].copy()
        finally:
            self._decoder.graph = self._kernel
        return logits


def check_step_kernel(decoder: Any, prompt: Prompt, vectors: np.ndarray) -> None:
    """Compare the kernel's logits with those of the library's graph of the same weights.

    Repeated, they must be the same to the bit. Those of int8 products are compared with the CPU's
    when the kernel is opened: the library does not quantise activations. See `StepLogits` for the
    arguments.
    """
    logits = StepLogits(decoder, prompt, vectors)
    for tokens in logits.tokens:
        ours = logits(tokens)
        if not decoder.graph.weights.layout.has_int8:
            library = logits(tokens, library=True)
            assert relative_difference(ours, library) <= LOGIT_TOLERANCE["float16"]
        np.testing.assert_array_equal(logits(tokens), ours)


def check_rows_of_the_step_kernel(decoder: Any, prompt: Prompt, vectors: np.ndarray) -> None:
    """A token's logits must be the same to the bit alone and among others.

    See `StepLogits` for the arguments.
    """
    logits = StepLogits(decoder, prompt, vectors)
    # Each token after those before it, whose keys and values these steps leave in the cache.
    alone = np.concatenate([logits(1, place) for place in range(logits.rows)])
    for tokens in logits.tokens:
        np.testing.assert_array_equal(logits(tokens), alone[:tokens])


def bind_step(decoder: Any, cache: Any, tokens: int, position: int) -> Any:
    """A step of one cell from a cache position on, its arrays filled."""
    step = decoder.bind(cache, (0, 1), tokens, tokens)
    step.token_ids[0] = np.arange(tokens) + 11
    step.position_ids[0] = np.arange(position, position + tokens)
    step.write_index[0] = position
    step.logit_rows[0] = np.arange(tokens)
    return step


def relative_difference(result: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected value; NaN where a result is none."""
    return float(np.abs(result - expected).max() / np.abs(expected).max())


def write_texts(
    decoder: Any,
    prompt: Prompt,
    vectors: Sequence[np.ndarray],
    generation: Generation,
    *,
    captions: Sequence[Sequence[int]] = (),
    rows: int = 1,
) -> list[tuple[int, ...]]:
    """Text tokens of cells by greedy search, `rows` of them at a time.

    Args:
        decoder: The decoder.
        prompt: The prompt.
        vectors: Cell vectors [K, D] of each cell.
        generation: Settings.
        captions: Token sequences that drafts are taken from; without any there are no drafts.
        rows: Batch rows.
    """
    prompts = [vector_prompts(prompt).of_vectors(v) for v in vectors]
    longest = max(map(len, prompts))
    search = GreedySearch(
        decoder,
        PromptRunner(decoder, prompt.prefix_ids),
        generation=generation,
        rows=rows,
        capacity=longest + generation.max_new_tokens + 2 * ROWS[-1],
        drafter=Drafter(build_phrase_table(captions)) if captions else None,
    )
    cells = FixedCells(PromptedCell(key, cell) for key, cell in enumerate(prompts))
    written = dict(search.run(cells))
    texts = []
    for key in range(len(vectors)):
        sequence = written[key]
        assert isinstance(sequence, GeneratedSequence), sequence
        texts.append(sequence.token_ids)
    return texts


def check_bundle_logits(bundle: Bundle, decoder: Any, tolerance: float) -> None:
    """Compare the logits of a prompt and of a step of four tokens with those of the CPU engine."""
    sizes = bundle.manifest
    shape = (sizes.projector.vectors, sizes.decoder.hidden_size)
    vectors = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * SPREAD
    cpu = open_engines(bundle, EngineOptions(prepack=False)).decoder
    logits = []
    for each in (cpu, decoder):
        prompts = bundle_prompts(bundle)
        cell = prompts.of_vectors(vectors)
        length = len(cell)
        cache = each.new_cache(1, length + 4)
        prefill = prompts.runner(each).prefill(cache, 0, cell).copy()
        logits.append((prefill, bind_step(each, cache, 4, length).run()[0].copy()))
    for expected, result in zip(*logits, strict=True):
        assert relative_difference(result, expected) <= tolerance


def describe_cells(
    bundle: Bundle, cells: Sequence[Any], **options: Any
) -> tuple[list[tuple[int, ...]], str]:
    """Text tokens of cells, and the label of the engine that wrote them.

    Args:
        bundle: The bundle.
        cells: Gene tokens [S] of each cell.
        **options: Of `DescribeOptions`.
    """
    describer = Describer(bundle, DescribeOptions(**options))
    descriptions = list(describer.describe([EncodedCells.of_tokens(cells)]))
    assert [d.error for d in descriptions if d.error] == []
    return [tuple(d.tokens) for d in descriptions], describer.engines.label


def check_texts_of_the_cpu(bundle: Bundle, cells: Sequence[Any]) -> None:
    """Compare texts of `--engine cuda` in float32 with the CPU's, each way of describing.

    Greedy search one cell at a time and in batches, with drafts and without, and three beams.
    """
    expected, _ = describe_cells(bundle, cells, engine="cpu", drafts=False)
    for batch_size in (1, 8):
        for drafts in (False, True):
            way = {"batch_size": batch_size, "drafts": drafts}
            texts, label = describe_cells(bundle, cells, engine="cuda", **way)
            assert "float32 between layers" in label
            assert texts == expected, way
    by_beams, _ = describe_cells(bundle, cells, engine="cpu", num_beams=3)
    texts, _ = describe_cells(bundle, cells, engine="cuda", num_beams=3)
    assert texts == by_beams
