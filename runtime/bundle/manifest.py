"""The manifest of a bundle: everything the runtime must know that is not a weight.

One decision: the manifest is parsed strictly into frozen classes (msgspec), so that a typo, a
missing field or a field of a newer format is an error at opening time, never a wrong description.
"""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from c2t.runtime.system.errors import EngineError

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.json"
# The time of a beam search grows with the square of its beams; nobody uses more than some dozens.
BEAMS_MAX = 1024
GRAPHS = ("encoder.onnx", "projector.onnx", "decoder.onnx")
REQUIRED_FILES = (
    *GRAPHS,
    *(f"{graph}.data" for graph in GRAPHS),
    "gene_embedding.safetensors",
    "genes.npz",
    "tokenizer.json",
    GOLDEN_NAME,
)


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of the bundle: its length and its SHA-256 (64 hexadecimal digits)."""

    bytes: int
    sha256: str


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
    """Graph `projector.onnx`: `hidden` [B,K,H] -> `cell_vectors` [B,K',D], all float32."""

    kind: str  # "mlp" | "perceiver"
    vectors: int  # most vectors a cell can have: top_k (mlp), the number of latents (perceiver)


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
    """Generation settings with the meaning they have in Hugging Face `generate`, no sampling."""

    max_new_tokens: int = 100
    num_beams: int = 1
    no_repeat_ngram_size: int = 0
    early_stopping: bool | Literal["never"] = True
    length_penalty: float = 1.0
    eos_token_ids: tuple[int, ...] = ()


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


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A bundle's manifest, format version 1."""

    format_version: int
    name: str
    precision: str  # one of `c2t.runtime.bundle.precision.Precision`
    opset: int
    gene_input: GeneInput
    encoder: Encoder
    projector: Projector
    decoder: Decoder
    prompt: Prompt
    generation: Generation
    origin: Origin
    licences: tuple[Licence, ...]
    files: dict[str, FileEntry]  # every other file of the bundle, by its plain name
    species: str = "human"  # whose genes and cells it knows; older bundles do not say it

    @property
    def prompt_length(self) -> int:
        """Text tokens of the longest prompt, a cell vector counted as one."""
        prompt = self.prompt
        return len(prompt.prefix_ids) + self.projector.vectors + len(prompt.suffix_ids)

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
