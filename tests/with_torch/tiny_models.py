"""Tiny random checkpoints that are structurally complete; the same for the same seed.

Every test of the project that needs a model gets it here, so that none needs a download.
"""

import json
import pickle
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from c2t.export.checkpoint.gene_dictionaries.vocabulary import build_gene_vocabulary
from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.loaded_checkpoint import (
    PLACEHOLDER_TOKEN,
    CheckpointSettings,
    LoadedCheckpoint,
)
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import build_projector
from c2t.runtime.bundle.manifest import Generation, Licence

BOS, EOS, EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
SPECIAL_TOKENS = (
    BOS,
    EOS,
    "<|reserved_special_token_0|>",
    PLACEHOLDER_TOKEN,
    "<|start_header_id|>",
    "<|end_header_id|>",
    EOT,
)
SYSTEM_MESSAGE = "Describe this cell."
TEXTS = (
    "This sample consists of a B cell, a lymphocyte that makes antibodies.",
    "This sample consists of a monocyte, a phagocyte of the blood.",
    "It originates from the blood of a normal female. It originates from the lung of a male with",
    "This cell is associated with interferon response. Additionally, it involves cell division.",
    "Gene expression embeddings: system user assistant Today Date: 26 Jul 2024",
)
# Behaves like Llama 3's: a date in the system header, from a clock where there is one.
CHAT_TEMPLATE = """\
{%- set day = date_string if date_string is defined \
else (strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024") -%}
{{- bos_token -}}
{%- for message in messages -%}
{{- "<|start_header_id|>" + message["role"] + "<|end_header_id|>\\n\\n" -}}
{%- if message["role"] == "system" -%}{{- "Today Date: " + day + "\\n\\n" -}}{%- endif -%}
{{- message["content"] | trim + "<|eot_id|>" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" -}}
{%- endif -%}
"""


@dataclass(frozen=True, kw_only=True)
class TinySizes:
    """Sizes of a tiny model; heads are grouped in the decoder."""

    genes: int = 60
    version: int = 2  # Geneformer vocabulary: 1 without, 2 with <cls> and <eos>
    encoder_layers: int = 3
    encoder_width: int = 16
    encoder_heads: int = 2
    encoder_ffn: int = 32
    encoder_positions: int = 48
    projector: str = "mlp"
    projector_dropout: float = 0.0
    top_k: int = 8
    num_latents: int = 6
    perceiver_heads: int = 2
    decoder_layers: int = 2
    decoder_width: int = 24
    decoder_heads: int = 4
    decoder_kv_heads: int = 2
    decoder_ffn: int = 40
    tied: bool = True


def tiny_genes(sizes: TinySizes = TinySizes(), seed: int = 0) -> EncoderVocabulary:
    """`sizes.genes` genes ENSG00000000001... with symbols SYM1... and some outdated ids."""
    return build_gene_vocabulary(
        tiny_token_dictionary(sizes),
        tiny_medians(sizes, seed),
        ensembl_mapping=tiny_ensembl_mapping(sizes),
        gene_names={f"Sym{n}": gene_id(n) for n in range(1, sizes.genes + 1)},
    )


def gene_id(number: int) -> str:
    """The Ensembl id of gene `number`, counted from 1."""
    return f"ENSG{number:011d}"


def tiny_token_dictionary(sizes: TinySizes = TinySizes()) -> dict[str, int]:
    """Token dictionary in the manner of V1 or V2."""
    specials = ["<pad>", "<mask>"] + (["<cls>", "<eos>"] if sizes.version == 2 else [])
    names = specials + [gene_id(n) for n in range(1, sizes.genes + 1)]
    return {name: token for token, name in enumerate(names)}


def tiny_medians(sizes: TinySizes = TinySizes(), seed: int = 0) -> dict[str, float]:
    """A positive median for each gene, and for one that has no token."""
    medians = np.random.default_rng(seed).uniform(0.5, 5.0, sizes.genes + 1)
    return {gene_id(n): float(medians[n - 1]) for n in range(1, sizes.genes + 2)}


def tiny_ensembl_mapping(sizes: TinySizes = TinySizes()) -> dict[str, str]:
    """Identity; for V2 also symbols and outdated ids ENSG9... of every fourth gene."""
    genes = range(1, sizes.genes + 1)
    mapping = {gene_id(n): gene_id(n) for n in genes}
    if sizes.version == 2:
        mapping |= {f"SYM{n}": gene_id(n) for n in genes}
        mapping |= {f"ENSG9{n:010d}": gene_id(n) for n in genes if n % 4 == 0}
    return mapping


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE over a few sentences, with Llama-like special tokens and chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOT, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_geneformer(sizes: TinySizes = TinySizes(), seed: int = 0) -> BertForMaskedLM:
    """A random Geneformer."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tiny_token_dictionary(sizes)),
        hidden_size=sizes.encoder_width,
        num_hidden_layers=sizes.encoder_layers,
        num_attention_heads=sizes.encoder_heads,
        intermediate_size=sizes.encoder_ffn,
        max_position_embeddings=sizes.encoder_positions,
        hidden_act="relu",
        initializer_range=0.2,
    )
    return _randomised(BertForMaskedLM(config))


def tiny_llama(sizes: TinySizes = TinySizes(), seed: int = 0) -> LlamaForCausalLM:
    """A random Llama with grouped heads and Llama 3's scaled rotary positions."""
    torch.manual_seed(seed + 1)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.decoder_width,
        num_hidden_layers=sizes.decoder_layers,
        num_attention_heads=sizes.decoder_heads,
        num_key_value_heads=sizes.decoder_kv_heads,
        intermediate_size=sizes.decoder_ffn,
        max_position_embeddings=256,
        rope_theta=500000.0,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        initializer_range=0.2,
        tie_word_embeddings=sizes.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _randomised(LlamaForCausalLM(config))


def tiny_projector_config(sizes: TinySizes = TinySizes()) -> ProjectorConfig:
    """An mlp, a perceiver with two self-attention blocks, or a Q-Former of three layers."""
    widths = {"input_width": sizes.encoder_width, "output_width": sizes.decoder_width}
    if sizes.projector == "mlp":
        return ProjectorConfig(kind="mlp", hidden=20, dropout=sizes.projector_dropout, **widths)
    if sizes.projector == "qformer":
        return ProjectorConfig(
            kind="qformer",
            hidden=32,
            queries=sizes.num_latents,
            heads=2,
            layers=3,
            cross_every=2,
            feed_forward=36,
            **widths,
        )
    return ProjectorConfig(
        kind="perceiver",
        num_latents=sizes.num_latents,
        heads=sizes.perceiver_heads,
        self_layers=2,
        feed_forward=36,
        positions=64,
        **widths,
    )


def tiny_model(sizes: TinySizes = TinySizes(), seed: int = 0) -> Cell2TextModel:
    """A random model in evaluation mode."""
    torch.manual_seed(seed + 2)
    return Cell2TextModel(
        tiny_geneformer(sizes, seed),
        _randomised(build_projector(tiny_projector_config(sizes))),
        tiny_llama(sizes, seed),
        top_k=sizes.top_k,
    ).eval()


def tiny_settings() -> CheckpointSettings:
    """Settings with both Llama-like end tokens."""
    tokenizer = tiny_tokenizer()
    ends = tuple(tokenizer.convert_tokens_to_ids([EOS, EOT]))
    return CheckpointSettings(
        name="tiny",
        system_message=SYSTEM_MESSAGE,
        generation=Generation(max_new_tokens=16, no_repeat_ngram_size=3, eos_token_ids=ends),
        licences=(Licence(part="all", licence="CC0-1.0"),),
    )


def tiny_checkpoint(
    sizes: TinySizes = TinySizes(), seed: int = 0, *, date: str | None = None
) -> LoadedCheckpoint:
    """A whole checkpoint in memory, as `load_checkpoint` would give it."""
    settings = replace(tiny_settings(), date=date)
    model = tiny_model(sizes, seed)
    model.requires_grad_(False)
    return LoadedCheckpoint(
        model=model,
        genes=tiny_genes(sizes, seed),
        tokenizer=tiny_tokenizer(),
        tokenizer_json=tiny_tokenizer().backend_tokenizer.to_str(),
        prompt=render_prompt(tiny_tokenizer(), settings),
        settings=settings,
        layout="tiny random checkpoint",
        random_weights=True,
    )


def tiny_cell(length: int, sizes: TinySizes = TinySizes(), seed: int = 0) -> torch.Tensor:
    """Gene tokens [length] of a random cell; with <cls> and <eos> in a V2 vocabulary."""
    tokens = tiny_token_dictionary(sizes)
    genes = [token for name, token in tokens.items() if not name.startswith("<")]
    special = sizes.version == 2
    chosen = np.random.default_rng(seed).permutation(genes)[: length - 2 * special]
    ends = ([tokens["<cls>"]], [tokens["<eos>"]]) if special else ([], [])
    return torch.tensor([*ends[0], *chosen.tolist(), *ends[1]])


class ReferenceLayout(torch.nn.Module):
    """The modules under the names that the reference implementation saves them by."""

    def __init__(self, model: Cell2TextModel) -> None:
        super().__init__()
        self.cell_encoder = torch.nn.Module()
        self.cell_encoder.geneformer_model = model.encoder
        self.decoder = torch.nn.Module()
        self.decoder.llama = model.decoder
        self.cell_to_embedding = model.projector


def write_base_folders(
    folder: Path, sizes: TinySizes = TinySizes(), seed: int = 0, *, safe: bool = True
) -> dict[str, Path]:
    """Write `geneformer/` (with pickled dictionaries) and `llama/`; returns their options."""
    geneformer, llama = folder / "geneformer", folder / "llama"
    tiny_geneformer(sizes, seed).save_pretrained(geneformer, safe_serialization=safe)
    tiny_llama(sizes, seed).save_pretrained(llama, safe_serialization=safe)
    ends = list(tiny_settings().generation.eos_token_ids)
    (llama / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    tiny_tokenizer().save_pretrained(llama)
    names = {f"Sym{n}": gene_id(n) for n in range(1, sizes.genes + 1)}
    for name, dictionary in (
        ("token_dictionary", tiny_token_dictionary(sizes)),
        ("gene_median_dictionary", tiny_medians(sizes, seed)),
        ("ensembl_mapping_dict", tiny_ensembl_mapping(sizes)),
        ("gene_name_id_dict", names),
    ):
        (geneformer / f"{name}_tiny.pkl").write_bytes(pickle.dumps(dictionary))
    return {"geneformer": geneformer, "llama": llama}


def _randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Move biases and norms off their trivial initial values, so that a mix-up cannot hide."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()
