"""A CellWhisperer checkpoint before its weights are read, and with them.

One decision: sizes come from the folders that training began with (Geneformer's, BioBERT's), and
all weights from the checkpoint, which trained on both. What neither says is an option.

Source: Schaefer et al., Nat. Biotechnol. 2025 (CellWhisperer).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig, PretrainedConfig

from c2t.export.cellwhisperer.names import Expected, JointTensors, sort_joint_tensors
from c2t.export.cellwhisperer.text_tokenizer import TowerTokenizer, load_tower_tokenizer
from c2t.export.checkpoint.configs import CONFIG, read_encoder_config, read_model_config
from c2t.export.checkpoint.gene_dictionaries.find import load_genes
from c2t.export.checkpoint.options import CheckpointOptions, option_name
from c2t.export.checkpoint.settings import licence_of
from c2t.export.checkpoint.tensors.assembly import build_part, build_projector_with, fill
from c2t.export.checkpoint.tensors.files import read_tensors
from c2t.export.checkpoint.tensors.first_bytes import SAFETENSORS, kind_of_file
from c2t.export.checkpoint.tensors.lightning_file import read_state_dict
from c2t.export.encoders.bert_text import BERT_TEXT
from c2t.export.encoders.families import encoder_family
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.joint import JointBlock, JointModel, TextTower
from c2t.export.model.model import layers_needed
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.joint import POOLINGS
from c2t.runtime.bundle.manifest import Licence
from c2t.runtime.system.errors import CheckpointError

FAMILY = "cellwhisperer"
EMB_LAYER = -1  # the second to last layer
TEXT_TOKENS = 128  # of a text in training, [CLS] and [SEP] included
# Options of other families.
_OTHERS = (
    *("folder", "llama", "adapter", "system_message", "system_message_file", "user_message"),
    *("placeholder_token", "date", "perceiver_heads", "perceiver_positions", "qformer_heads"),
    *("lora_alpha", "top_k", "chat_template", "model", "top_genes", "organism"),
    *("gene_order",),
)
# Options of texts, which only the chat writes.
_OF_TEXTS = (
    *("template", "max_new_tokens", "num_beams", "no_repeat_ngram_size", "early_stopping"),
    *("length_penalty", "repetition_penalty", "stop_strings", "ignore_generation_config"),
    *("phrases", "fields", "ontology"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedJoint:
    """A CellWhisperer checkpoint with its weights, ready to be exported.

    Attributes:
        model: In evaluation mode, float32, without gradients.
        outline: All the rest of it.
        layout: Which layout was recognised, in words.
        source_files: Every file that was read, by a name that is unique.
    """

    model: JointModel
    outline: JointOutline
    layout: str
    source_files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class JointOutline:
    """All of a CellWhisperer checkpoint but its weights.

    Attributes:
        options: Where its parts are.
        checkpoint: The file of the weights.
        encoder: Config of Geneformer.
        text: Config of the text tower's BERT.
        genes: Genes and special gene tokens.
        tokenizer: Of the text tower.
        text_tokens: Most text tokens of a text, [CLS] and [SEP] included.
        emb_layer: Which hidden state is pooled, see `c2t.export.model.model`.
        pooling: How rows become one, see `c2t.export.projectors.joint`.
        name: Of the bundle.
        licences: Of the parts.
        files: What was read so far, by names that are unique.
        said: What was chosen where nothing was asked for, a sentence each.
    """

    options: CheckpointOptions
    checkpoint: Path
    encoder: PretrainedConfig
    text: BertConfig
    genes: EncoderVocabulary
    tokenizer: TowerTokenizer
    text_tokens: int
    emb_layer: int
    pooling: str
    name: str
    licences: tuple[Licence, ...]
    files: dict[str, Path]
    said: tuple[str, ...] = ()

    def load(self) -> LoadedJoint:
        """Read the weights.

        Raises:
            CheckpointError: A tensor is missing, has no place, or has another shape.
        """
        stored, kind = _read(self.checkpoint)
        expected = Expected(
            gene_rows=int(self.encoder.vocab_size),
            gene_width=int(self.encoder.hidden_size),
            text_rows=int(self.text.vocab_size),
            text_width=int(self.text.hidden_size),
        )
        tensors = sort_joint_tensors(stored, expected, leave_out=self.options.leave_out or ())
        model = self._build(tensors)
        return LoadedJoint(
            model=model.eval().requires_grad_(False),
            outline=self,
            layout="; ".join(["CellWhisperer", kind, *tensors.story]),
            source_files={**self.files, self.checkpoint.name: self.checkpoint},
        )

    def _build(self, tensors: JointTensors) -> JointModel:
        """The model with these weights."""
        family = encoder_family(self.encoder.model_type)
        size = _joint_size(tensors)
        projector = ProjectorConfig(
            kind="joint",
            input_width=int(self.encoder.hidden_size),
            output_width=size,
            pooling=self.pooling,
            special_tokens=self.genes.cls_token is not None,
        )
        text_block = _block(tensors.text_block, int(self.text.hidden_size), size)
        named = {f"block.{name}": tensor for name, tensor in tensors.image_block.items()}
        encoder = family.named_as_in_module(tensors.encoder)
        bert = build_part(BERT_TEXT, self.text, _renamed(tensors.text), part="text tower")
        return JointModel(
            build_part(family, self.encoder, encoder, part="encoder"),
            build_projector_with(projector, named),
            TextTower(bert, text_block),
            temperature=tensors.temperature,
            emb_layer=self.emb_layer,
        )


def outline_joint(options: CheckpointOptions) -> JointOutline:
    """Read all of a CellWhisperer checkpoint but the weights, within seconds.

    Raises:
        CheckpointError: An option, a config, a dictionary or the tokenizer cannot be used.
    """
    geneformer, text_folder, checkpoint = _check_options(options)
    encoder = read_encoder_config(geneformer)
    text = read_model_config(BERT_TEXT, text_folder)
    assert isinstance(text, BertConfig)
    genes, gene_files = load_genes(options, vocabulary_size=encoder.vocab_size)
    emb_layer = EMB_LAYER if options.emb_layer is None else options.emb_layer
    layers_needed(int(encoder.num_hidden_layers), emb_layer)
    pooling = _pooling(options.pooling, genes)
    tokenizer = load_tower_tokenizer(text_folder, lower_case=options.text_lower_case)
    _check_rows(tokenizer, text, text_folder)
    said = []
    if options.pooling is None:
        said.append("a cell is the mean over its genes, as published; --pooling cls takes <cls>")
    return JointOutline(
        options=options,
        checkpoint=checkpoint,
        encoder=encoder,
        text=text,
        genes=genes,
        tokenizer=tokenizer,
        text_tokens=min(TEXT_TOKENS, int(text.max_position_embeddings)),
        emb_layer=emb_layer,
        pooling=pooling,
        name=options.name or checkpoint.stem,
        licences=(licence_of("encoder", geneformer), licence_of("text tower", text_folder)),
        files={
            **gene_files,
            "geneformer/config.json": geneformer / CONFIG,
            "text_model/config.json": text_folder / CONFIG,
            f"text_model/{tokenizer.file.name}": tokenizer.file,
        },
        said=tuple(said),
    )


def _check_options(options: CheckpointOptions) -> tuple[Path, Path, Path]:
    """The two folders and the checkpoint, if the options are those of this family."""
    given = [
        option_name(name)
        for name in (*_OTHERS, *(() if options.chat else _OF_TEXTS))
        if getattr(options, name) not in (None, False, [])
    ]
    if given:
        what = "chat does not have these" if options.chat else "joint space has no decoder; given"
        problem = f"CellWhisperer's {what}: {', '.join(given)}"
        hint = "--family cellwhisperer takes --geneformer, --text-model and --checkpoint, and the "
        hint += "folder of the chat with --chat"
        raise CheckpointError(problem, hint=hint)
    needed = {
        "--geneformer": options.geneformer,
        "--text-model": options.text_model,
        "--checkpoint": options.checkpoint,
    }
    lacking = [option for option, path in needed.items() if path is None]
    if lacking:
        problem = f"--family cellwhisperer also needs {', '.join(lacking)}"
        raise CheckpointError(problem, hint="`c2t help search` says where each is published")
    geneformer, text, checkpoint = (path for path in needed.values() if path is not None)
    if not checkpoint.is_file():
        problem = f"no such file: {checkpoint}"
        raise CheckpointError(problem, hint="pass the .ckpt file")
    return geneformer, text, checkpoint


def _pooling(asked: str | None, genes: EncoderVocabulary) -> str:
    """How rows become one.

    Raises:
        CheckpointError: There is no such way, or no `<cls>` row.
    """
    pooling = POOLINGS[0] if asked is None else asked
    if pooling not in POOLINGS:
        problem = f"--pooling is {pooling!r}"
        raise CheckpointError(problem, hint=f"use {' or '.join(POOLINGS)}")
    if pooling == "cls" and genes.cls_token is None:
        problem = "--pooling is cls, but the gene vocabulary has no <cls> token"
        raise CheckpointError(problem, hint="use mean, as the published model does")
    return pooling


def _check_rows(tokenizer: TowerTokenizer, text: BertConfig, folder: Path) -> None:
    """Refuse a tokenizer of another text tower.

    Raises:
        CheckpointError: Its tokens are not those of the word table.
    """
    words, rows = tokenizer.pieces.vocabulary, int(text.vocab_size)
    if max(words.values()) >= rows or 2 * len(words) < rows:
        problem = f"{tokenizer.file} has {len(words):,} tokens, the text tower {rows:,} rows"
        raise CheckpointError(problem, hint=f"check config.json in {folder}")


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file, and what it is, in words."""
    if kind_of_file(path)[0] == SAFETENSORS:
        return read_tensors(path).tensors, "safetensors"
    read = read_state_dict(path)
    kind = "Lightning checkpoint"
    if read.ignored:
        kind += f" ({len(read.ignored)} kinds of Python objects in it were not opened)"
    return read.tensors, kind


def _joint_size(tensors: JointTensors) -> int:
    """J, which both blocks must agree on.

    Raises:
        CheckpointError: They do not.
    """
    sizes = [
        int(block["feature_shortcut.weight"].shape[0])
        for block in (tensors.image_block, tensors.text_block)
    ]
    if sizes[0] != sizes[1]:
        problem = f"img_block leads to {sizes[0]} numbers, text_block to {sizes[1]}"
        raise CheckpointError(problem, hint="check that the file is one training run's")
    return sizes[0]


def _block(tensors: dict[str, Tensor], width: int, size: int) -> JointBlock:
    """A block with these weights."""
    with torch.device("meta"):
        block = JointBlock(width, size)
    fill(block, tensors, part="text_block", tied={})
    return block


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text tower's tensors as `BertModel` names them."""
    found = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("bert.")
        old = next((end for end in BERT_TEXT.renamed if name.endswith(end)), "")
        name = name.removesuffix(old) + BERT_TEXT.renamed.get(old, "")
        if not name.startswith("cls."):  # the head of pre-training, which no output depends on
            found[name] = tensor
    return found
