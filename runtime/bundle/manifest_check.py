"""Numbers and parts of a manifest that cannot be: refused when a bundle is opened, by name.

A bundle may come from a stranger. What follows from its sizes (shapes, memory, indices) is computed
only once they are within bounds that no model comes near.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from c2t.runtime.bundle.constant_prefix import prefix_reference
from c2t.runtime.bundle.file_parts import block_problems
from c2t.runtime.bundle.gene_order import GENE_ORDER_NAME, GENES_MAX
from c2t.runtime.bundle.joint_space import JOINT, JointSpace
from c2t.runtime.bundle.manifest import (
    BEAMS_MAX,
    DECODER_GRAPH,
    FAMILIES,
    PREFIX_NAME,
    SEVERAL_CELLS,
    STOP_LETTERS_MAX,
    STOPS_MAX,
    TEXT_GRAPH,
    Decoder,
    Encoder,
    GeneInput,
    Generation,
    Manifest,
)
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.bundle.tasks import ANNOTATE, ASK, DESCRIBE, NEEDS, TASKS
from c2t.runtime.bundle.template import (
    FixedIds,
    Template,
    TextPart,
    VectorPlace,
    template_fields,
    template_problems,
)
from c2t.runtime.system.errors import BundleError

SIZE_MAX = (1 << 31) - 1
LAYERS_MAX = 1024
POSITIONS_MAX = 1 << 24
# Published gene sentences have up to 2,048 genes; no file has more genes than this.
SENTENCE_GENES_MAX = 1 << 17
# exp(temperature) scales scores; CLIP clips it at ln(100) = 4.6.
TEMPERATURE_MAX = 20.0
TEXT_TOKENS_MIN = 3  # [CLS], a word, [SEP]
TEXT_MAX = 1 << 16  # letters of a template's text, or of a name
GENE_TABLES = "gene_embedding.safetensors"
DECODER_DATA = f"{DECODER_GRAPH}.data"


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest whose parts or numbers contradict each other or common sense.

    Raises:
        BundleError: Names every field that cannot be.
    """
    _check_names(manifest)
    problems = list(_parts(manifest)) or [*_all_parts(manifest), *_others(manifest)]
    if problems:
        problem = f"the manifest cannot be right: {'; '.join(problems)}"
        raise BundleError(problem, hint="copy the bundle again from its source, or export it again")


def _check_names(m: Manifest) -> None:
    """Refuse families and tasks of a newer version of c2t."""
    unknown = [] if m.family in FAMILIES else [f"the family {m.family[:40]!r}"]
    unknown += [f"the task {task[:40]!r}" for task in m.tasks if task not in TASKS]
    if unknown:
        problem = f"the bundle is of a kind that this c2t does not know: {unknown[0]}"
        raise BundleError(problem, hint="update c2t")


def _parts(m: Manifest) -> Iterator[str]:
    """Parts that cannot be there without others."""
    encoder = (m.gene_input_part, m.encoder_part, m.projector_part)
    decoder = (m.decoder_part, m.generation_part)
    if any(part is None for part in encoder) and any(encoder):
        yield "gene_input, encoder and projector are not all there"
    if any(part is None for part in decoder) and any(decoder):
        yield "decoder and generation are not both there"
    prompts = bool(m.prompt_part) + bool(m.template)
    if prompts != (m.decoder_part is not None):
        yield f"a bundle {'with' if m.decoder_part else 'without'} decoder has {prompts} prompts"
    if not (m.decoder_part or m.encoder_part):
        yield "it has neither encoder nor decoder"
    if m.prompt_part and not m.encoder_part:
        yield "prompt: cell vectors need an encoder"
    if m.encoder_part and not m.decoder_part and m.joint_space is None:
        yield "an encoder stands without decoder and joint_space"
    if m.joint_space is not None and not m.encoder_part:
        yield "joint_space needs an encoder"
    if m.gene_sentence is not None and (m.encoder_part or not m.template):
        yield "gene_sentence needs a template and no encoder"
    if m.stored_prefix and not m.decoder_part:
        yield "stored_prefix needs a decoder"
    if m.decoder_part and not (m.encoder_part or m.gene_sentence):
        yield "a decoder stands without encoder and gene_sentence"
    there = {"encoder": m.has_encoder, "decoder": m.has_decoder}
    leads = m.projector_part is not None and m.projector_part.kind == JOINT
    if m.encoder_part and leads != (m.decoder_part is None):
        place = "a decoder" if m.decoder_part else "a joint space"
        yield f"projector.kind is {m.projector.kind!r}, but it leads to {place}"
    there["joint space"] = m.joint_space is not None and leads
    there["text tower"] = m.joint_space is not None and m.joint_space.text is not None
    if len(set(m.tasks)) != len(m.tasks):
        yield "tasks names one twice"
    if ASK in m.tasks and not m.template:
        yield "tasks: it cannot ask without a template"
    if ANNOTATE in m.tasks and not (there["decoder"] or there["text tower"]):
        yield "tasks: it cannot annotate without decoder or text tower"
    for task in m.tasks:
        if missing := [part for part in NEEDS[task] if not there[part]]:
            yield f"tasks: it cannot {task} without {missing[0]}"


def _all_parts(m: Manifest) -> Iterator[str]:
    """What is wrong with each part that is there."""
    if m.gene_input_part and m.encoder_part:
        yield from _encoder(m, m.gene_input_part, m.encoder_part)
    if m.decoder_part and m.generation_part:
        yield from _decoder(m, m.decoder_part, m.generation_part)
    if m.joint_space is not None:
        yield from _joint_space(m, m.joint_space)


def _within(*sizes: tuple[str, int, int]) -> Iterator[str]:
    """Sizes that are not from 1 to their most."""
    for name, value, most in sizes:
        if not 1 <= value <= most:
            yield f"{name} is {value}"


def _encoder(m: Manifest, genes: GeneInput, encoder: Encoder) -> Iterator[str]:
    yield from _within(
        ("gene_input.input_size", genes.input_size, POSITIONS_MAX),
        ("gene_input.vocabulary_size", genes.vocabulary_size, SIZE_MAX),
        ("gene_input.width", genes.hidden_size, SIZE_MAX),
        ("encoder.layers", encoder.layers, LAYERS_MAX),
        ("encoder.heads", encoder.heads, SIZE_MAX),
        ("encoder.rows", 1 if encoder.rows is None else encoder.rows, POSITIONS_MAX),
        ("projector.vectors", m.projector.vectors, POSITIONS_MAX),
    )
    if m.projector.kind in SEVERAL_CELLS and encoder.rows != 1:
        yield f"encoder.rows is {encoder.rows}: {m.projector.kind} takes one row a cell"
    if not 0 <= encoder.layers_run <= encoder.layers + 1:
        yield f"encoder.layers_run is {encoder.layers_run}"
    special = [t for t in (genes.pad_token, genes.cls_token, genes.eos_token) if t is not None]
    yield from _outside("gene_input's special tokens", special, genes.vocabulary_size)
    if not 0 < genes.layer_norm_epsilon < 1:
        yield f"gene_input.layer_norm_epsilon is {genes.layer_norm_epsilon}"
    yield from _too_large(
        m,
        GENE_TABLES,
        ("gene_input.vocabulary_size", genes.vocabulary_size, genes.hidden_size),
        ("gene_input.input_size", genes.input_size, genes.hidden_size),
    )


def _decoder(m: Manifest, decoder: Decoder, generation: Generation) -> Iterator[str]:
    yield from _within(
        ("decoder.layers", decoder.layers, LAYERS_MAX),
        ("decoder.width", decoder.hidden_size, SIZE_MAX),
        ("decoder.heads", decoder.heads, SIZE_MAX),
        ("decoder.kv_heads", decoder.kv_heads, SIZE_MAX),
        ("decoder.head_size", decoder.head_size, SIZE_MAX),
        ("decoder.vocabulary_size", decoder.vocabulary_size, SIZE_MAX),
        ("decoder.max_positions", decoder.max_positions, POSITIONS_MAX),
        ("generation.max_new_tokens", generation.max_new_tokens, POSITIONS_MAX),
        ("generation.num_beams", generation.num_beams, BEAMS_MAX),
    )
    if decoder.kv_heads > 0 and decoder.heads % decoder.kv_heads:
        yield f"decoder.heads is {decoder.heads}, no multiple of kv_heads, {decoder.kv_heads}"
    words, prompt = decoder.vocabulary_size, m.prompt_part
    if prompt is not None:
        yield from _outside("prompt.prefix_ids", prompt.prefix_ids, words)
        yield from _outside("prompt.suffix_ids", prompt.suffix_ids, words)
        yield from _outside("prompt.placeholder_id", [prompt.placeholder_id], words)
    yield from _outside("generation.eos_token_ids", generation.eos_token_ids, words)
    if generation.no_repeat_ngram_size < 0:
        yield f"generation.no_repeat_ngram_size is {generation.no_repeat_ngram_size}"
    yield from _drawing(generation)
    table, stated = decoder.token_embedding, (words, decoder.hidden_size)
    if table.shape != stated:
        yield f"the text token table is {table.shape}, the manifest says {stated}"
    yield from _too_large(
        m,
        DECODER_DATA,
        ("decoder.vocabulary_size", decoder.vocabulary_size, decoder.hidden_size),
        ("decoder.max_positions", decoder.max_positions, decoder.head_size),
        ("decoder.layers", decoder.layers, decoder.kv_heads * decoder.head_size),
    )
    if m.template:
        yield from _template(m, decoder)
    if m.stored_prefix:
        yield from _stored_prefix(m, decoder)


def _stored_prefix(m: Manifest, decoder: Decoder) -> Iterator[str]:
    """First tokens that no prompt begins with, or whose keys and values are not all there."""
    stored, prompt = m.stored_prefix, m.prompt_part
    yield from _outside("stored_prefix", stored, decoder.vocabulary_size)
    if prompt is not None and stored != prompt.prefix_ids[: len(stored)]:
        yield "stored_prefix is not what the prompt begins with"
    elif m.template and isinstance(m.template[0], FixedIds):
        length = min(len(stored), len(m.template[0].ids))
        if stored[:length] != m.template[0].ids[:length]:
            yield "stored_prefix is not what the template begins with"
    need, entry = 4 * math.prod(prefix_reference(decoder, stored).shape), m.files.get(PREFIX_NAME)
    if entry is not None and entry.bytes != need:
        yield f"stored_prefix needs {need:,} bytes, {PREFIX_NAME} has {entry.bytes:,}"


def _template(m: Manifest, decoder: Decoder) -> Iterator[str]:
    yield from _parts_of(m.template, decoder, "template")
    yield from _chat(m, decoder)
    places = sum(isinstance(part, VectorPlace) for part in m.template)
    if places != int(m.has_encoder):
        yield f"template has {places} places of cell vectors"
    fields, sentence = template_fields(m.template), m.gene_sentence
    if "instruction" in fields:
        yield "template's field {instruction} is one of a chat"
    yield from _asking(m, fields)
    if bool(fields & {"genes", "cells"}) != (sentence is not None):
        yield "template's field {genes} or {cells} and gene_sentence do not come together"
    if {"genes", "cells"} <= fields:
        yield "template has both {genes} and {cells}"
    if sentence is None:
        if of_cell := sorted(fields & {"count", "organism"}):
            yield f"template's field {of_cell[0]} needs a gene_sentence"
        return
    yield from _within(("gene_sentence.genes", sentence.genes, SENTENCE_GENES_MAX))
    if sentence.listed:
        yield from _within(("gene_sentence.listed", sentence.listed, GENES_MAX))
    if bool(sentence.listed) != (GENE_ORDER_NAME in m.files):
        yield f"gene_sentence.listed is {sentence.listed:,}; that and a list do not come together"
    if not sentence.organisms:
        yield "gene_sentence.organisms is empty"
    for text in (sentence.separator, *sentence.organisms, *sentence.organisms.values()):
        if not 0 < len(text) <= TEXT_MAX:
            yield f"gene_sentence has a text of {len(text):,} letters"


def _chat(m: Manifest, decoder: Decoder) -> Iterator[str]:
    """What cannot be right about the model's own chat."""
    yield from _parts_of(m.chat, decoder, "chat")
    if any(isinstance(part, VectorPlace) for part in m.chat):
        yield "chat has a place of cell vectors"
    fields = template_fields(m.chat)
    if m.chat and ("question" not in fields or fields - {"question", "instruction"}):
        yield f"chat has the fields {', '.join(sorted(fields)) or 'none'}"


def _parts_of(template: Template, decoder: Decoder, name: str) -> Iterator[str]:
    yield from template_problems(template)
    for part in template:
        if isinstance(part, FixedIds):
            yield from _outside(f"{name}'s ids", part.ids, decoder.vocabulary_size)
        elif isinstance(part, TextPart):
            yield from _within(
                (f"{name}'s longest", part.longest, decoder.max_positions),
                (f"letters of the {name}'s text", len(part.text), TEXT_MAX),
            )


def _asking(m: Manifest, fields: frozenset[str]) -> Iterator[str]:
    """Tasks that the fields of a template do not allow."""
    if ASK in m.tasks and "question" not in fields:
        yield "tasks: it cannot ask without a {question} in its template"
    for task in (DESCRIBE, ANNOTATE):
        if task in m.tasks and fields & {"cells", "labels"}:
            yield f"tasks: it cannot {task} with a template of several cells or of labels"
        if task in m.tasks and "question" in fields and not m.question:
            yield f"tasks: it cannot {task} without a question for its template"
    if len(m.question) > TEXT_MAX:
        yield f"question has {len(m.question):,} letters"


def _joint_space(m: Manifest, space: JointSpace) -> Iterator[str]:
    yield from _within(("joint_space.size", space.size, SIZE_MAX))
    if m.projector.kind == JOINT and m.projector.vectors != 1:
        yield f"projector.vectors is {m.projector.vectors}: a cell has one place in a joint space"
    if not (math.isfinite(space.temperature) and abs(space.temperature) <= TEMPERATURE_MAX):
        yield f"joint_space.temperature is {space.temperature}"
    if (tower := space.text) is not None:
        yield from _within(
            ("joint_space.text.input_size", tower.input_size, POSITIONS_MAX),
            ("joint_space.text.vocabulary_size", tower.vocabulary_size, SIZE_MAX),
            ("joint_space.text.hidden_size", tower.hidden_size, SIZE_MAX),
        )
        if tower.input_size < TEXT_TOKENS_MIN:
            yield f"joint_space.text.input_size is {tower.input_size}: it leaves no room for a text"
        special = [tower.cls_token, tower.sep_token]
        yield from _outside("joint_space.text's special tokens", special, tower.vocabulary_size)
        yield from _too_large(
            m,
            f"{TEXT_GRAPH}.data",
            ("joint_space.text.vocabulary_size", tower.vocabulary_size, tower.hidden_size),
        )


def _too_large(m: Manifest, file: str, *tables: tuple[str, int, int]) -> Iterator[str]:
    """Sizes whose tables could not lie in their file, at half a byte a number.

    Memory is taken by these sizes, so that a small file must not claim a large model.
    """
    for name, rows, width in tables:
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
    for name, entry in m.files.items():
        yield from (f"files: {problem}" for problem in block_problems(name, entry))


def _drawing(generation: Generation) -> Iterator[str]:
    """Settings that no text can be written with."""
    for name, fits in (
        ("repetition_penalty", 0 < generation.repetition_penalty < math.inf),
        ("temperature", 0 <= generation.temperature < math.inf),
        ("top_k", generation.top_k >= 0),
        ("top_p", 0 < generation.top_p <= 1),
        ("seed", generation.seed >= 0),
    ):
        if not fits:
            yield f"generation.{name} is {getattr(generation, name)}"
    if len(generation.stop_strings) > STOPS_MAX:
        yield f"generation.stop_strings are {len(generation.stop_strings)}"
    if not all(0 < len(string) <= STOP_LETTERS_MAX for string in generation.stop_strings):
        yield "generation.stop_strings has an empty or a very long one"
