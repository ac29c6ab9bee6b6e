"""A tiny random CellWhisperer: towers, blocks with random BatchNorm statistics, and its files."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_models import (
    TinySizes,
    tiny_ensembl_mapping,
    tiny_geneformer,
    tiny_medians,
    tiny_token_dictionary,
)
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from c2t.export.model.joint import JointBlock, JointModel, TextTower
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.joint import JointProjector

SPACE = 20  # J
TEXT_WIDTH = 24
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "B", "cell", "T", "act", "##ivated", "from", "tum", "##our", "##s", "of", "the"),
    *("mon", "##o", "##cyte", ",", ".", "(", ")", "-", "8", "CD", "##8", "natural", "killer", "e"),
)
GENEFORMER = "model.transcriptome_model.geneformer_model."
TEXT = "model.text_model."


def joint_sizes(version: int = 1) -> TinySizes:
    """Of the cells' tower; a V1 vocabulary has no <cls>."""
    return TinySizes(version=version)


def tiny_text_config(**other: object) -> BertConfig:
    """Of a text tower for `WORDS`."""
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=32,
        initializer_range=0.2,
        **other,
    )


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Move biases, norms and BatchNorm's statistics off their trivial initial values."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(noise(parameter) * 0.3)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.copy_(noise(part.running_mean))
                part.running_var.copy_(noise(part.running_var).exp())
    return module.eval()


def tiny_joint(
    *, pooling: str = "mean", version: int = 1, seed: int = 0, temperature: float = 1.5
) -> JointModel:
    """A random model in evaluation mode."""
    sizes = joint_sizes(version)
    torch.manual_seed(seed + 11)
    projector = JointProjector(
        ProjectorConfig(
            kind="joint",
            input_width=sizes.encoder_width,
            output_width=SPACE,
            pooling=pooling,
            special_tokens=version == 2,
        )
    )
    text = TextTower(BertModel(tiny_text_config()), JointBlock(TEXT_WIDTH, SPACE))
    model = JointModel(
        tiny_geneformer(sizes, seed),
        randomised(projector, seed + 1),
        randomised(text, seed + 2),
        temperature=temperature,
    )
    return model.eval().requires_grad_(False)


class TrainingConfig:
    """What a training script's config is to a checkpoint: a class of a package that is not here."""

    def __init__(self) -> None:
        self.learning_rate = 1e-4
        self.nested = {"layers": [1, 2], "towers": (TEXT, GENEFORMER)}


def state_dict(model: JointModel) -> dict[str, Tensor]:
    """The tensors by the names of the published checkpoint."""
    state = {GENEFORMER + name: t for name, t in model.encoder.state_dict().items()}
    state |= {TEXT + name: t for name, t in model.text.bert.state_dict().items()}
    for block, part in (("img", model.projector.block), ("text", model.text.block)):
        prefix = f"model.discriminator.{block}_block."
        state |= {prefix + name: tensor for name, tensor in part.state_dict().items()}
        state[f"{prefix}feature_nonlinear.1.num_batches_tracked"] = torch.tensor(1234)
    state["model.discriminator.temperature"] = torch.tensor(model.temperature)
    return state


def write_lightning(path: Path, state: dict[str, Tensor]) -> None:
    """Write a file as Lightning does, with a config of a class that the reader cannot import."""
    module = types.ModuleType("training_package_that_is_gone")
    sys.modules[module.__name__] = module
    module.TrainingConfig = TrainingConfig
    name, TrainingConfig.__module__ = TrainingConfig.__module__, module.__name__
    try:
        stored = {
            "epoch": 3,
            "global_step": 1000,
            "pytorch-lightning_version": "2.0.0",
            "state_dict": state,
            "loops": {},
            "callbacks": {"ModelCheckpoint": {"best": torch.tensor(0.5), "path": Path("x")}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
            "hparams_name": "kwargs",
            "hyper_parameters": {"config": TrainingConfig(), "dtype": torch.float32},
        }
        torch.save(stored, path)
    finally:
        TrainingConfig.__module__ = name
        del sys.modules[module.__name__]


@dataclass(frozen=True)
class JointFolders:
    """Where the parts of a checkpoint lie."""

    geneformer: Path
    text_model: Path
    checkpoint: Path


def write_joint_folders(folder: Path, model: JointModel, *, version: int = 1) -> JointFolders:
    """Write configs, dictionaries, `vocab.txt` and the Lightning file."""
    geneformer, text = folder / "geneformer", folder / "biobert"
    geneformer.mkdir(parents=True)
    text.mkdir()
    model.encoder.config.to_json_file(geneformer / "config.json", use_diff=False)
    model.text.bert.config.to_json_file(text / "config.json", use_diff=False)
    sizes = joint_sizes(version)
    for name, dictionary in (
        ("token_dictionary", tiny_token_dictionary(sizes)),
        ("gene_median_dictionary", tiny_medians(sizes)),
        ("ensembl_mapping_dict", tiny_ensembl_mapping(sizes)),
    ):
        (geneformer / f"{name}.json").write_text(json.dumps(dictionary))
    (text / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (text / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    write_lightning(folder / "model.ckpt", state_dict(model))
    return JointFolders(geneformer, text, folder / "model.ckpt")
