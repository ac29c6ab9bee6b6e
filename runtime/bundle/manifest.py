"""The manifest of a bundle: everything the runtime must know that is not a weight.

Two decisions. The manifest is parsed strictly into frozen classes (msgspec), so that a typo, a
missing field or a field of a newer format is an error at opening time, never a wrong description.
And whoever asks for a part that a bundle does not have gets an error that says so: parts are read
through properties, so that no code can meet None.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar

import msgspec

from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.joint_space import JointSpace, TextTower
from c2t.runtime.bundle.tasks import CELL2TEXT_TASKS, tasks_said
from c2t.runtime.bundle.template import Template, longest_prompt
from c2t.runtime.system.errors import BundleError, EngineError, TaskError

T = TypeVar("T")

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.json"
# The time of a beam search grows with the square of its beams; nobody uses more than some dozens.
BEAMS_MAX = 1024
# A penalty that float32 logits can be divided by and multiplied with; beyond it, all is the same.
PENALTY_MAX = 1024.0
STOPS_MAX = 16  # stop strings
STOP_LETTERS_MAX = 256
ENCODER_GRAPHS = ("encoder.onnx", "projector.onnx")
# Kinds of projectors that read one row a cell, the mean of all; several rows are a group of cells.
SEVERAL_CELLS = ("mlp2x_8t",)
DECODER_GRAPH = "decoder.onnx"
# Graphs of a bundle with encoder and decoder; `Manifest.graphs` has those that a bundle has.
GRAPHS = (*ENCODER_GRAPHS, DECODER_GRAPH)
TEXT_GRAPH = "text.onnx"  # the text tower of a joint space
GENES_NAME = "genes.npz"
TOKENIZER_NAME = "tokenizer.json"
PREFIX_NAME = "prefix.data"
FAMILIES = ("cell2text", "cell2sentence", "cellwhisperer", "cello1", "cellreasoner")


@dataclass(frozen=True, kw_only=True)
class BlockHashes:
    """SHA-256 of a long file by blocks, so that all cores check it, and a part of it alone."""

    bytes: int  # of every block but the last, which may be shorter
    sha256: tuple[str, ...]  # of each block, first to last, 64 hexadecimal digits


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of the bundle: its length and its SHA-256 (64 hexadecimal digits)."""

    bytes: int
    sha256: str  # of the whole file
    blocks: BlockHashes | None = None  # of files above 32 MiB; older bundles have none


@dataclass(frozen=True, kw_only=True)
class TensorReference:
    """A row-major little-endian tensor inside a file of the bundle, to be memory-mapped.

    It exists so that a token table tied to the output layer is stored once, in the decoder's data.
    """

    file: str
    offset: int  # bytes from the start of the file
    shape: tuple[int, ...]
    dtype: str  # a NumPy name: "float32", "float16", "int8"


# Format 1 calls the hidden sizes of encoder and decoder "width".
_FORMAT_NAMES = {"hidden_size": "width"}


class GeneInput(msgspec.Struct, frozen=True, kw_only=True, rename=_FORMAT_NAMES):
    """How a ranked list of genes becomes the encoder's input (Geneformer's tokenizer)."""

    input_size: int  # longest sequence of gene tokens, special tokens included
    vocabulary_size: int  # rows of the gene word table
    hidden_size: int  # H of the encoder
    layer_norm_epsilon: float
    pad_token: int
    cls_token: int | None  # put in front, None for V1 vocabularies
    eos_token: int | None  # put at the end, None for V1 vocabularies


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Graph `encoder.onnx`: `embeddings` [B,S,H] float32 -> `hidden` [B,min(S,rows),H] float32."""

    model: str  # e.g. "geneformer-v2-104m", or a description of the sizes
    layers: int  # layers of the checkpoint
    layers_run: int  # layers in the graph: the ones that `emb_layer` makes needed
    heads: int
    rows: int | None  # rows computed in the last layer: top_k; None computes all


@dataclass(frozen=True, kw_only=True)
class Projector:
    """Graph `projector.onnx`: `hidden` [B,K,H] -> `cell_vectors` [B,K',D], all float32.

    D is the decoder's hidden size; without a decoder it is the size of the joint space.
    """

    kind: str  # "mlp" | "perceiver" | "qformer" | ...
    # Most vectors a cell can have: top_k (mlp), the number of latents (perceiver) or queries.
    vectors: int


class Decoder(msgspec.Struct, frozen=True, kw_only=True, rename=_FORMAT_NAMES):
    """Graph `decoder.onnx`; see `c2t.export.decoders.cached_decoder` for its inputs and outputs."""

    model: str
    layers: int
    hidden_size: int  # D
    heads: int
    kv_heads: int
    head_size: int
    vocabulary_size: int
    max_positions: int
    token_embedding: TensorReference  # [V, D]
    # [V] float32 where the table is int8: row v is its integers times this; else None
    token_scale: TensorReference | None = None

    def cache_bytes(self, capacity: int) -> int:
        """Keys and values of one batch row with `capacity` cache positions, in float32."""
        return 4 * 2 * self.layers * self.kv_heads * self.head_size * capacity

    @property
    def cache_names(self) -> list[str]:
        """Names of the graph's caches, less "past_" or "present_" in front."""
        return [f"{part}.{layer}" for layer in range(self.layers) for part in ("key", "value")]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The prompt as token ids: prefix, then one placeholder per cell vector, then suffix."""

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    placeholder_id: int
    system_message: str
    user_message: str
    date: str | None  # the date written into the system header, None if the template has none


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Generation settings with the meaning they have in Hugging Face `generate`.

    `repetition_penalty` and `no_repeat_ngram_size` count the tokens that `generate` would see:
    those of the text, and before them those of a prompt of text tokens only. A prompt that holds
    vectors reaches `generate` as `inputs_embeds`, without tokens, so none of it counts.
    """

    max_new_tokens: int = 100
    num_beams: int = 1
    no_repeat_ngram_size: int = 0
    early_stopping: bool | Literal["never"] = True
    length_penalty: float = 1.0
    eos_token_ids: tuple[int, ...] = ()
    # The first bundles do not state what follows (`c2t.runtime.bundle.stated_settings`).
    repetition_penalty: float = 1.0
    stop_strings: tuple[str, ...] = ()
    temperature: float = 0.0  # 0: the most probable token; else drawn
    top_k: int = 0  # of drawn tokens; 0: all
    top_p: float = 1.0  # of drawn tokens; 1: all
    seed: int = 0  # of drawn tokens; see `c2t.runtime.generation.drawn_choices`

    @property
    def needs_logits(self) -> bool:
        """Whether the engine's own choice of a token is not enough."""
        return self.repetition_penalty != 1 or self.temperature > 0


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the bundle was made from."""

    c2t_version: str
    layout: str  # which checkpoint layout was recognised
    created: str  # UTC, ISO 8601
    files: dict[str, str] = field(default_factory=dict)  # source file name -> sha256
    random_weights: bool = False
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """The licence of one part of the bundle."""

    part: str
    licence: str
    notice: str = ""


# The names of parts that a bundle need not have, in the format and as properties.
_PARTS = ("gene_input", "encoder", "projector", "decoder", "prompt", "generation")


class Manifest(
    msgspec.Struct, frozen=True, kw_only=True, rename={f"{part}_part": part for part in _PARTS}
):
    """A bundle's manifest, format version 1.

    A part that a bundle need not have is stored as `encoder_part` (in the file: `encoder`) and read
    as `encoder`, which raises a `BundleError` where there is none. Gene input, encoder and
    projector come together; so do decoder, generation, and either prompt or template.
    """

    format_version: int
    name: str
    precision: str  # one of `c2t.runtime.bundle.precision.Precision`
    opset: int
    gene_input_part: GeneInput | None = None
    encoder_part: Encoder | None = None
    projector_part: Projector | None = None
    decoder_part: Decoder | None = None
    prompt_part: Prompt | None = None
    generation_part: Generation | None = None
    origin: Origin
    licences: tuple[Licence, ...]
    files: dict[str, FileEntry]  # every other file of the bundle, by its plain name
    species: str = "human"  # whose genes and cells it knows; older bundles do not say it
    family: str = FAMILIES[0]  # one of `FAMILIES`
    tasks: tuple[str, ...] = CELL2TEXT_TASKS  # of `c2t.runtime.bundle.tasks.TASKS`
    template: Template = ()  # the prompt of a bundle whose prompts are texts; else empty
    question: str = ""  # what the template's {question} says where nobody asks
    chat: Template = ()  # the model's own chat: {instruction} in the system turn, {question} behind
    # Whether an answer is the text without its thought; else it stands in <answer>…</answer>.
    plain_answers: bool = False
    gene_sentence: GeneSentence | None = None  # the cell becomes text
    joint_space: JointSpace | None = None
    stored_prefix: tuple[int, ...] = ()  # see `c2t.runtime.bundle.constant_prefix`

    @property
    def gene_input(self) -> GeneInput:
        """See `GeneInput`.

        Raises:
            BundleError: The bundle has no encoder; so of `encoder` and `projector`.
        """
        return self._part(self.gene_input_part, "encoder")

    @property
    def encoder(self) -> Encoder:
        """See `Encoder`."""
        return self._part(self.encoder_part, "encoder")

    @property
    def projector(self) -> Projector:
        """See `Projector`."""
        return self._part(self.projector_part, "encoder")

    @property
    def decoder(self) -> Decoder:
        """See `Decoder`.

        Raises:
            BundleError: The bundle has no decoder; so of `generation`.
        """
        return self._part(self.decoder_part, "decoder")

    @property
    def generation(self) -> Generation:
        """See `Generation`."""
        return self._part(self.generation_part, "decoder")

    @property
    def prompt(self) -> Prompt:
        """See `Prompt`.

        Raises:
            BundleError: The bundle has no decoder, or a template instead.
        """
        return self._part(
            self.prompt_part, "prompt of cell vectors" if self.template else "decoder"
        )

    @property
    def space(self) -> JointSpace:
        """See `JointSpace`.

        Raises:
            BundleError: The bundle has no joint space.
        """
        return self._part(self.joint_space, "joint space of cells and texts")

    @property
    def text_tower(self) -> TextTower:
        """See `TextTower`.

        Raises:
            BundleError: The bundle has no joint space, or no texts in it.
        """
        return self._part(self.space.text, "text tower")

    @property
    def has_encoder(self) -> bool:
        """Whether the cell goes through an encoder."""
        return self.encoder_part is not None

    @property
    def has_decoder(self) -> bool:
        """Whether it writes texts."""
        return self.decoder_part is not None

    @property
    def graphs(self) -> tuple[str, ...]:
        """Files of the graphs that this bundle has, in the order in which a cell meets them."""
        text = self.joint_space is not None and self.joint_space.text is not None
        return (
            *(ENCODER_GRAPHS if self.has_encoder else ()),
            *((DECODER_GRAPH,) if self.has_decoder else ()),
            *((TEXT_GRAPH,) if text else ()),
        )

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files that a bundle with these parts must have."""
        tower = None if self.joint_space is None else self.joint_space.text
        return (
            *self.graphs,
            *(f"{graph}.data" for graph in self.graphs),
            *(("gene_embedding.safetensors", GENES_NAME) if self.has_encoder else ()),
            *((TOKENIZER_NAME, GOLDEN_NAME) if self.has_decoder else ()),
            *((PREFIX_NAME,) if self.stored_prefix else ()),
            *(() if tower is None else tower.files),
        )

    @property
    def vector_size(self) -> int:
        """D of the cell vectors that the projector gives."""
        space = self.joint_space
        if self.decoder_part is None and space is not None:
            return space.size
        return self.decoder.hidden_size

    @property
    def prompt_length(self) -> int:
        """Text tokens of the longest prompt, a cell vector counted as one."""
        vectors = self.projector.vectors if self.has_encoder else 0
        if self.template:
            return longest_prompt(self.template, vectors)
        return len(self.prompt.prefix_ids) + vectors + len(self.prompt.suffix_ids)

    def text_capacity(self, max_new_tokens: int) -> int:
        """Cache positions of the longest prompt and the text behind it.

        Args:
            max_new_tokens: Longest text, in text tokens.

        Raises:
            EngineError: More than the decoder has positions.
        """
        prompt, most = self.prompt_length, self.decoder.max_positions
        if prompt + max_new_tokens > most:
            problem = (
                f"a prompt of {prompt} and {max_new_tokens} new tokens exceed {most} positions"
            )
            hint = f"ask for at most {most - prompt}: --max-new-tokens"
            if prompt >= most:
                hint = "the bundle's prompt leaves no room for a text: export it with another one"
            raise EngineError(problem, hint=hint)
        return prompt + max_new_tokens

    def replace(self, **changes: Any) -> "Manifest":
        """The manifest with some fields changed, by their names in the format."""
        names = {f"{part}_part" if part in _PARTS else part: changes[part] for part in changes}
        return msgspec.structs.replace(self, **names)

    def need_task(self, task: str) -> None:
        """Refuse a task that the bundle cannot do.

        Args:
            task: One of `c2t.runtime.bundle.tasks.TASKS`.

        Raises:
            TaskError: Says which it can do.
        """
        if task not in self.tasks:
            problem = f"the bundle {self.name!r} ({self.family}) cannot {task}"
            hint = f"it can {tasks_said(self.tasks)}: see `c2t info`"
            if task in ("ask", "search"):  # how-to pages have these names
                hint += f"; `c2t help {task}` says which bundles can"
            raise TaskError(problem, hint=hint)

    @property
    def species_known(self) -> str:
        """The species whose cells it knows, in words: "human or mouse"."""
        if self.gene_sentence is None:
            return self.species
        return " or ".join(self.gene_sentence.organisms)

    @property
    def input_said(self) -> str:
        """What a cell becomes for it, in words."""
        if self.gene_sentence is not None:
            sentence = self.gene_sentence
            if sentence.listed:
                said = f"the symbols of the first {sentence.genes:,} that a cell has"
                return f"counts of genes; {said}, by a list of {sentence.listed:,}"
            return f"counts of genes; the symbols of the {sentence.genes:,} highest"
        return f"counts of genes; the first {self.gene_input.input_size:,} ranks of a cell"

    def _part(self, part: T | None, what: str) -> T:
        if part is None:
            self._lacks(what)
        return part

    def _lacks(self, what: str) -> NoReturn:
        problem = f"the bundle {self.name!r} ({self.family}) has no {what}"
        raise BundleError(problem, hint=f"it can {tasks_said(self.tasks)}: see `c2t info`")
