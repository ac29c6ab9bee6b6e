"""The committed tiny models in `tests/data`, and what PyTorch computes with them.

`tests/data/make_tiny_data.py` writes them; using them needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.manifest import Decoder, Generation, Prompt
from c2t.runtime.engine_protocol import DecoderEngine, EngineOptions
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.generation.bundle_prompts import BundlePrompts, vector_prompts
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import FixedCells, PromptedCell

DATA = Path(__file__).parents[1] / "data"
EXPECTED = DATA / "tiny_expected.json"
BUNDLES = {"mlp": DATA / "tiny_bundle", "perceiver": DATA / "tiny_perceiver_bundle"}
JOINT = DATA / "tiny_joint_bundle"  # of a joint space of cells and texts, without a decoder
SENTENCES = DATA / "tiny_sentence_bundle"  # whose cells are gene sentences, without an encoder
# Decoders without a bundle; random weights of a larger spread make surer choices.
DECODERS = {"sure": DATA / "tiny_decoder", "unsure": DATA / "tiny_unsure_decoder"}
# Others of every other family, with windows, caps and a part of each head rotated.
FAMILY_DECODERS = {
    family: DATA / "tiny_families" / family
    for family in ("mistral", "qwen2", "qwen3", "gpt_neox", "gemma2", "phi3")
}
DECODER_WIDTH = 32
DECODER_PROMPT = Prompt(
    prefix_ids=(5, 9, 2, 7),
    suffix_ids=(3, 11),
    placeholder_id=1,
    system_message="",
    user_message="",
    date=None,
)
GENES = 60  # of the bundles' vocabulary: ENSG00000000001 and so on
CLS, EOS, FIRST_GENE = 2, 3, 4  # gene tokens


def tiny_cell(length: int, seed: int = 0) -> np.ndarray:
    """Gene tokens [length] int32 of a random cell: <cls>, genes without repetition, <eos>."""
    genes = np.arange(FIRST_GENE, FIRST_GENE + GENES)
    chosen = np.random.default_rng(seed).permutation(genes)[: length - 2]
    return np.array([CLS, *chosen, EOS], np.int32)


def random_vectors(seed: int, count: int = 6) -> np.ndarray:
    """Cell vectors [count, D] float32 for the decoders without a bundle."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, DECODER_WIDTH)).astype(np.float32)


@dataclass(frozen=True)
class TinyBundle:
    """A committed bundle. It is read only: copy its folder to change something."""

    bundle: Bundle
    projector: str

    @property
    def generation(self) -> Generation:
        """Its own settings."""
        return self.bundle.manifest.generation

    def reference(self, cell: np.ndarray, generation: Generation) -> list[int]:
        """What PyTorch generates for gene tokens [S] of `tiny_cell`."""
        return self._answer(cell, generation)["tokens"]

    def text(self, cell: np.ndarray, generation: Generation) -> str:
        """The same as text."""
        return self._answer(cell, generation)["text"]

    def _answer(self, cell: np.ndarray, generation: Generation) -> dict[str, Any]:
        return _answers()[_key(self.projector, tuple(cell.tolist()), generation)]


@dataclass(frozen=True)
class TinyDecoder:
    """A committed decoder."""

    name: str
    path: Path  # its graph
    engine: OnnxRuntimeDecoder
    table: np.ndarray  # [V, D]
    prompt: Prompt

    @property
    def prompts(self) -> BundlePrompts:
        """Prompts of cell vectors."""
        return vector_prompts(self.prompt)

    def runner(self, engine: DecoderEngine | None = None) -> PromptRunner:
        """Runs them on its own engine, or on another."""
        return PromptRunner(engine or self.engine, self.prompts.beginning)

    def cells(self, vectors: Iterable[np.ndarray]) -> FixedCells:
        """Cells of these vectors with the keys 0, 1, 2, ..."""
        of = self.prompts.of_vectors
        return FixedCells(PromptedCell(key, of(each)) for key, each in enumerate(vectors))

    def reference(self, seed: int, generation: Generation) -> list[int]:
        """What Hugging Face `generate` gives for `random_vectors(seed)`."""
        return _answers()[_key(self.name, seed, generation)]["tokens"]

    def probabilities(self, seed: int, generation: Generation) -> list[float]:
        """PyTorch's probability of each of these tokens, before any is banned."""
        return _answers()[_key(self.name, seed, generation)]["probabilities"]


@cache
def tiny_bundle(projector: str = "mlp") -> TinyBundle:
    """Open a committed bundle."""
    return TinyBundle(open_bundle(BUNDLES[projector]), projector)


@cache
def sentence_bundle() -> Bundle:
    """Open the committed bundle whose cells are gene sentences; it is read only."""
    return open_bundle(SENTENCES)


def tiny_decoder(name: str = "sure") -> TinyDecoder:
    """Open a committed decoder with one thread."""
    folder = (DECODERS | FAMILY_DECODERS)[name]
    sizes = msgspec.json.decode((folder / "sizes.json").read_bytes(), type=Decoder)
    place = sizes.token_embedding
    table = np.fromfile(
        folder / place.file, place.dtype, count=int(np.prod(place.shape)), offset=place.offset
    ).reshape(place.shape)
    path = folder / "decoder.onnx"
    engine = OnnxRuntimeDecoder(path, sizes, table, EngineOptions(threads=1))
    return TinyDecoder(name, path, engine, table, DECODER_PROMPT)


@cache
def joint_bundle() -> Bundle:
    """Open the committed bundle with a joint space."""
    return open_bundle(JOINT)


@cache
def joint_cells() -> tuple[list[np.ndarray], np.ndarray]:
    """Gene tokens of its expected cells, and PyTorch's vectors [B, J] of them."""
    cells = expected()["joint"]["cells"]
    tokens = [tiny_cell(cell["length"], cell["seed"]) for cell in cells]
    return tokens, np.array([cell["vector"] for cell in cells], np.float32)


@cache
def joint_texts() -> tuple[list[str], np.ndarray]:
    """Its expected texts, and PyTorch's vectors [N, J] of them."""
    texts = expected()["joint"]["texts"]
    vectors = np.array([text["vector"] for text in texts], np.float32)
    return [text["text"] for text in texts], vectors


@cache
def expected() -> dict[str, Any]:
    """The contents of `tiny_expected.json`."""
    contents: dict[str, Any] = msgspec.json.decode(EXPECTED.read_bytes())
    return contents


@cache
def _answers() -> dict[tuple[Any, ...], dict[str, Any]]:
    answers = {}
    for kind in ("bundles", "decoders"):
        for name, runs in expected()[kind].items():
            for run in runs:
                generation = msgspec.convert(run["generation"], Generation)
                for cell in run["cells"]:
                    given = cell["seed"]
                    if kind == "bundles":
                        given = tuple(tiny_cell(cell["length"], given).tolist())
                    answers[_key(name, given, generation)] = cell
    return answers


def _key(name: str, given: object, generation: Generation) -> tuple[Any, ...]:
    return (name, given, *asdict(generation).values())


def with_a_broken_gene(tables: GeneEmbeddingTables, gene: int) -> GeneEmbeddingTables:
    """The same tables, with NaN in a gene's row."""
    name = "word" if tables.word_scale is None else "word_scale"
    table = getattr(tables, name).copy()
    table[gene] = np.nan
    return replace(tables, **{name: table})
