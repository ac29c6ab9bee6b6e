"""What is asked of a checkpoint, and what a loaded one is, whatever layout it came in."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from c2t.export.checkpoint.gene_vocabulary import GeneVocabularyArrays
from c2t.export.model.model import Cell2TextModel
from c2t.runtime.bundle.manifest import Generation, Licence, Prompt

USER_MESSAGE = "Gene expression embeddings: "
PLACEHOLDER_TOKEN = "<|reserved_special_token_1|>"


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Where the parts of a checkpoint are, and what it does not say itself.

    Either `folder` alone names a folder that `save_checkpoint` wrote, or `geneformer` and `llama`
    name Hugging Face folders beside `checkpoint` (full state dict) or `adapter` (PEFT) or both.
    None leaves a setting to the checkpoint, then to its documented default.
    """

    folder: Path | None = None
    geneformer: Path | None = None
    llama: Path | None = None
    checkpoint: Path | None = None
    adapter: Path | None = None
    token_dictionary: Path | None = None
    gene_medians: Path | None = None
    ensembl_mapping: Path | None = None
    gene_names: Path | None = None
    system_message: str | None = None
    user_message: str | None = None  # default USER_MESSAGE
    placeholder_token: str | None = None  # default PLACEHOLDER_TOKEN
    date: str | None = None  # written into the system header; default: the template's own
    emb_layer: int | None = None  # default -1
    top_k: int | None = None  # default 256
    perceiver_heads: int | None = None  # default 8; the weights do not tell
    lora_alpha: float | None = None  # default: adapter_config.json, else 2 x rank
    max_new_tokens: int | None = None
    num_beams: int | None = None
    no_repeat_ngram_size: int | None = None
    name: str | None = None
    phrases: Path | None = None  # captions of the training set, for drafts; one a line


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


def override_settings(
    settings: CheckpointSettings, options: CheckpointOptions
) -> CheckpointSettings:
    """Settings with those replaced that the options name."""
    changed = {
        name: getattr(options, name)
        for name in ("name", "system_message", "user_message", "placeholder_token", "date")
        if getattr(options, name) is not None
    }
    generation = {
        name: getattr(options, name)
        for name in ("max_new_tokens", "num_beams", "no_repeat_ngram_size")
        if getattr(options, name) is not None
    }
    return replace(settings, generation=replace(settings.generation, **generation), **changed)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedCheckpoint:
    """A checkpoint of any layout, ready to be exported.

    Attributes:
        model: In evaluation mode, float32, without gradients.
        genes: The gene vocabulary.
        tokenizer: The text tokenizer with its chat template.
        tokenizer_json: Content of `tokenizer.json`.
        prompt: The prompt as token ids.
        settings: Name, messages, generation defaults, licences.
        layout: Which layout was recognised, in words.
        source_files: Every file that was read, by a name that is unique.
        random_weights: Whether the weights mean nothing (presets).
        phrases: Captions to make the phrase table of, see `c2t.export.phrases`.
    """

    model: Cell2TextModel
    genes: GeneVocabularyArrays
    tokenizer: PreTrainedTokenizerBase
    tokenizer_json: str
    prompt: Prompt
    settings: CheckpointSettings
    layout: str
    source_files: dict[str, Path] = field(default_factory=dict)
    random_weights: bool = False
    phrases: Path | None = None

    @property
    def generation(self) -> Generation:
        """Generation defaults."""
        return self.settings.generation

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Licences of the parts."""
        return self.settings.licences
