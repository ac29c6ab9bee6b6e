"""What a loaded checkpoint is, whatever layout it came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import Projector, ProjectorConfig
from c2t.runtime.bundle.manifest import Generation, Licence, Prompt
from c2t.runtime.bundle.template import Template
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME

USER_MESSAGE = "Gene expression embeddings: "
PLACEHOLDER_TOKEN = "<|reserved_special_token_1|>"
PHRASES = "phrases.txt"  # what sources call the captions of the training set
FIELDS = "fields.json"  # the rules by which these become fields
TERMS = "terms.json"  # ids of names in them
ProjectorCheck = Callable[[ProjectorConfig], None]


@dataclass(frozen=True, kw_only=True)
class CaptionFiles:
    """Files about the captions that a model was trained on.

    Attributes:
        phrases: Captions to make the phrase table of, see `c2t.export.phrases`.
        fields: Rules by which they become fields, see `c2t.export.field_rules`.
        terms: Where names in them get ids from, see `c2t.export.term_table`.
        unsure: A rule for unsure cells that was fitted to this very checkpoint.
    """

    phrases: Path | None = None
    fields: Path | None = None
    terms: tuple[Path, ...] = ()
    unsure: Path | None = None

    def named(self) -> dict[str, Path]:
        """Each file by a name that is unique."""
        named = {PHRASES: self.phrases, FIELDS: self.fields, UNSURE_NAME: self.unsure}
        found = {name: path for name, path in named.items() if path is not None}
        for number, path in enumerate(self.terms):
            taken = path.name in found
            found[f"{number + 1}-{path.name}" if taken else path.name] = path
        return found


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """Everything of a checkpoint that is neither weight, gene, nor tokenizer."""

    name: str
    system_message: str
    user_message: str = USER_MESSAGE
    placeholder_token: str = PLACEHOLDER_TOKEN
    date: str | None = None
    generation: Generation = field(default_factory=Generation)
    licences: tuple[Licence, ...] = ()
    notes: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedCheckpoint:
    """A checkpoint of any layout, ready to be exported.

    Attributes:
        model: In evaluation mode, float32, without gradients.
        genes: Genes and special gene tokens of the encoder.
        tokenizer: The text tokenizer with its chat template.
        tokenizer_json: Content of `tokenizer.json`.
        prompt: The prompt as text tokens.
        settings: Name, messages, generation defaults, licences.
        layout: Which layout was recognised, in words.
        source_files: Every file that was read, by a name that is unique.
        random_weights: Whether the weights mean nothing (presets).
        captions: Files about the captions that it was trained on.
        template: A prompt that is text around the cell vectors; `prompt` is it with the usual
            question. Empty for a prompt of messages.
        family: Whose model it is.
    """

    model: Cell2TextModel
    genes: EncoderVocabulary
    tokenizer: PreTrainedTokenizerBase
    tokenizer_json: str
    prompt: Prompt
    settings: CheckpointSettings
    layout: str
    source_files: dict[str, Path] = field(default_factory=dict)
    random_weights: bool = False
    captions: CaptionFiles = field(default_factory=CaptionFiles)
    template: Template = ()
    family: str = "cell2text"

    @property
    def generation(self) -> Generation:
        """Generation defaults."""
        return self.settings.generation

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Licences of the parts."""
        return self.settings.licences


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedParts:
    """The modules of a checkpoint with their weights, and where these came from.

    Attributes:
        encoder: In evaluation mode, float32.
        projector: The same.
        decoder: The same.
        layout: Which layout was recognised, in words.
        source_files: Every file that was read, by a name that is unique.
    """

    encoder: PreTrainedModel
    projector: Projector
    decoder: PreTrainedModel
    layout: str
    source_files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckpointOutline:
    """A checkpoint before its weights are read: all that can be checked within seconds.

    Attributes:
        encoder: Config of the encoder.
        decoder: Config of the decoder.
        projector: Config of the projector; None where only the weights show it.
        genes: Genes and special gene tokens of the encoder.
        tokenizer: The text tokenizer with its chat template.
        tokenizer_json: Content of `tokenizer.json`.
        prompt: The prompt as text tokens.
        settings: Name, messages, generation defaults, licences.
        emb_layer: Which hidden state of the encoder the projector sees, see `Cell2TextModel`.
        top_k: Encoder rows that an `mlp` projector sees.
        captions: Files about the captions that it was trained on.
        random_weights: Whether the weights mean nothing (presets).
        read_weights: Reads the weights. It calls its argument with the config of the projector
            before it converts or merges anything.
        template: See `LoadedCheckpoint`.
        family: See `LoadedCheckpoint`.
        decoder_option: The option that names the decoder's folder.
    """

    encoder: PretrainedConfig
    decoder: PretrainedConfig
    projector: ProjectorConfig | None
    genes: EncoderVocabulary
    tokenizer: PreTrainedTokenizerBase
    tokenizer_json: str
    prompt: Prompt
    settings: CheckpointSettings
    emb_layer: int
    top_k: int
    captions: CaptionFiles = field(default_factory=CaptionFiles)
    random_weights: bool = False
    template: Template = ()
    family: str = "cell2text"
    decoder_option: str = "--llama"
    read_weights: Callable[[ProjectorCheck], LoadedParts]

    def load(self, check: ProjectorCheck = lambda _: None) -> LoadedCheckpoint:
        """Read the weights.

        Args:
            check: Called with the config of the projector before the work begins; it may raise.

        Raises:
            CheckpointError: A tensor is missing, has no place, or has another shape.
        """
        parts = self.read_weights(check)
        model = Cell2TextModel(
            parts.encoder,
            parts.projector,
            parts.decoder,
            emb_layer=self.emb_layer,
            top_k=self.top_k,
        )
        model.requires_grad_(False)
        model.eval()
        return LoadedCheckpoint(
            model=model,
            genes=self.genes,
            tokenizer=self.tokenizer,
            tokenizer_json=self.tokenizer_json,
            prompt=self.prompt,
            settings=self.settings,
            layout=parts.layout,
            source_files=parts.source_files | self.captions.named(),
            random_weights=self.random_weights,
            captions=self.captions,
            template=self.template,
            family=self.family,
        )
