"""Numbers of a manifest that cannot be: refused when a bundle is opened, by name.

A bundle may come from a stranger. What follows from its sizes (shapes, memory, indices) is computed
only once they are within bounds that no model comes near.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from c2t.runtime.bundle.manifest import BEAMS_MAX, Manifest
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.system.errors import BundleError

SIZE_MAX = (1 << 31) - 1
LAYERS_MAX = 1024
POSITIONS_MAX = 1 << 24
GENE_TABLES = "gene_embedding.safetensors"
DECODER_DATA = "decoder.onnx.data"


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest whose numbers contradict each other or common sense.

    Raises:
        BundleError: Names every field that cannot be.
    """
    problems = [*_sizes(manifest), *_ids(manifest), *_tables(manifest), *_others(manifest)]
    if problems:
        problem = f"the manifest cannot be right: {'; '.join(problems)}"
        raise BundleError(problem, hint="copy the bundle again from its source, or export it again")


def _sizes(m: Manifest) -> Iterator[str]:
    genes, encoder, decoder = m.gene_input, m.encoder, m.decoder
    sizes = [
        ("gene_input.input_size", genes.input_size, POSITIONS_MAX),
        ("gene_input.vocabulary_size", genes.vocabulary_size, SIZE_MAX),
        ("gene_input.width", genes.hidden_size, SIZE_MAX),
        ("encoder.layers", encoder.layers, LAYERS_MAX),
        ("encoder.layers_run", encoder.layers_run, encoder.layers + 1),
        ("encoder.heads", encoder.heads, SIZE_MAX),
        ("encoder.rows", 1 if encoder.rows is None else encoder.rows, POSITIONS_MAX),
        ("projector.vectors", m.projector.vectors, POSITIONS_MAX),
        ("decoder.layers", decoder.layers, LAYERS_MAX),
        ("decoder.width", decoder.hidden_size, SIZE_MAX),
        ("decoder.heads", decoder.heads, SIZE_MAX),
        ("decoder.kv_heads", decoder.kv_heads, SIZE_MAX),
        ("decoder.head_size", decoder.head_size, SIZE_MAX),
        ("decoder.vocabulary_size", decoder.vocabulary_size, SIZE_MAX),
        ("decoder.max_positions", decoder.max_positions, POSITIONS_MAX),
        ("generation.max_new_tokens", m.generation.max_new_tokens, POSITIONS_MAX),
        ("generation.num_beams", m.generation.num_beams, BEAMS_MAX),
    ]
    for name, value, most in sizes:
        least = 0 if name == "encoder.layers_run" else 1
        if not least <= value <= most:
            yield f"{name} is {value}"
    if decoder.kv_heads > 0 and decoder.heads % decoder.kv_heads:
        yield f"decoder.heads is {decoder.heads}, no multiple of kv_heads, {decoder.kv_heads}"


def _ids(m: Manifest) -> Iterator[str]:
    genes, prompt = m.gene_input, m.prompt
    special = [t for t in (genes.pad_token, genes.cls_token, genes.eos_token) if t is not None]
    yield from _outside("gene_input's special tokens", special, genes.vocabulary_size)
    words = m.decoder.vocabulary_size
    yield from _outside("prompt.prefix_ids", prompt.prefix_ids, words)
    yield from _outside("prompt.suffix_ids", prompt.suffix_ids, words)
    yield from _outside("prompt.placeholder_id", [prompt.placeholder_id], words)
    yield from _outside("generation.eos_token_ids", m.generation.eos_token_ids, words)


def _tables(m: Manifest) -> Iterator[str]:
    """Sizes whose tables could not lie in their file, at half a byte a number.

    Memory is taken by these sizes, so that a small file must not claim a large model.
    """
    genes, decoder = m.gene_input, m.decoder
    tables = [
        ("gene_input.vocabulary_size", genes.vocabulary_size, genes.hidden_size, GENE_TABLES),
        ("gene_input.input_size", genes.input_size, genes.hidden_size, GENE_TABLES),
        ("decoder.vocabulary_size", decoder.vocabulary_size, decoder.hidden_size, DECODER_DATA),
        ("decoder.max_positions", decoder.max_positions, decoder.head_size, DECODER_DATA),
        ("decoder.layers", decoder.layers, decoder.kv_heads * decoder.head_size, DECODER_DATA),
    ]
    for name, rows, width, file in tables:
        entry = m.files.get(file)
        if entry is not None and rows * width > 2 * entry.bytes:
            yield f"{name} is {rows:,}, too much for the {entry.bytes:,} bytes of {file}"


def _outside(name: str, ids: Iterable[int], vocabulary: int) -> Iterator[str]:
    strangers = [token for token in ids if not 0 <= token < vocabulary]
    if strangers:
        yield f"{name}: {strangers[0]} is not in the vocabulary of {vocabulary:,}"


def _others(m: Manifest) -> Iterator[str]:
    if m.format_version < 1:
        yield f"format_version is {m.format_version}"
    if m.precision not in list(Precision):
        yield f"precision is {m.precision!r}, none of {', '.join(Precision)}"
    if not 0 < m.gene_input.layer_norm_epsilon < 1:
        yield f"gene_input.layer_norm_epsilon is {m.gene_input.layer_norm_epsilon}"
    if m.generation.no_repeat_ngram_size < 0:
        yield f"generation.no_repeat_ngram_size is {m.generation.no_repeat_ngram_size}"
    table, stated = m.decoder.token_embedding, (m.decoder.vocabulary_size, m.decoder.hidden_size)
    if table.shape != stated:
        yield f"the text token table is {table.shape}, the manifest says {stated}"
