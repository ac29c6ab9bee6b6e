"""Random checkpoints of real sizes, so that anyone can measure without gated weights.

One decision: only the weights are meaningless. Sizes, vocabulary sizes, prompt length and file
formats are those of the published models, so time and memory are too.
"""

from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from c2t.export.checkpoint.assembly import restore_buffers
from c2t.export.checkpoint.gene_vocabulary import GeneVocabularyArrays
from c2t.export.checkpoint.options import (
    PLACEHOLDER_TOKEN,
    CheckpointSettings,
    LoadedCheckpoint,
)
from c2t.export.checkpoint.preset_sizes import DECODERS, ENCODERS, DecoderSizes, EncoderSizes
from c2t.export.checkpoint.prompt import render_prompt
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import ProjectorConfig, build_projector
from c2t.runtime.bundle.manifest import Generation, Licence
from c2t.runtime.system.errors import CheckpointError

PROJECTORS = ("mlp", "perceiver")
SYSTEM_MESSAGE = (
    "This checkpoint has random weights. Its descriptions mean nothing and only its speed is real."
)
# Same standard deviation as a fresh Llama or BERT.
_SPREAD = 0.02
# One block of random numbers is drawn and repeated: drawing 1.2 billion takes longer than
# exporting them. Its odd length keeps rows of a matrix from repeating.
_BLOCK = (1 << 22) + 1
_SPECIAL = {  # Llama 3's special tokens, as offsets from the first of them
    0: "<|begin_of_text|>", 1: "<|end_of_text|>", 2: "<|reserved_special_token_0|>",
    3: PLACEHOLDER_TOKEN, 4: "<|finetune_right_pad_id|>", 6: "<|start_header_id|>",
    7: "<|end_header_id|>", 8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>",
}  # fmt: skip
_ORDINARY_SHARE = 128000 / 128256  # ordinary tokens of Llama 3's vocabulary
_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- "<|start_header_id|>" + message["role"] + "<|end_header_id|>\\n\\n" -}}
{%- if message["role"] == "system" -%}
{{- "Cutting Knowledge Date: December 2023\\nToday Date: " -}}
{{- (date_string if date_string is defined else "26 Jul 2024") + "\\n\\n" -}}
{%- endif -%}
{{- message["content"] | trim + "<|eot_id|>" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" -}}
{%- endif -%}
"""


@dataclass(frozen=True, kw_only=True)
class PresetOptions:
    """Which random checkpoint to make."""

    name: str  # "DECODER+ENCODER", like "llama-3.2-1b+geneformer-v2-104m"
    projector: str = "mlp"  # or "perceiver", with the published sizes
    seed: int = 0  # the same seed gives the same weights
    top_k: int = 256  # encoder rows that an mlp sees


def load_preset(options: PresetOptions) -> LoadedCheckpoint:
    """Make a random checkpoint of real sizes.

    Raises:
        CheckpointError: There is no such preset or projector.
    """
    preset, projector, seed = options.name, options.projector, options.seed
    decoder_name, _, encoder_name = preset.partition("+")
    if decoder_name not in DECODERS or encoder_name not in ENCODERS or projector not in PROJECTORS:
        problem = f"no preset {preset!r} with projector {projector!r}"
        raise CheckpointError(
            problem,
            hint=f"DECODER+ENCODER of {', '.join(DECODERS)} and {', '.join(ENCODERS)}; "
            f"projector {' or '.join(PROJECTORS)}",
        )
    encoder, decoder = ENCODERS[encoder_name], DECODERS[decoder_name]
    with torch.device("meta"):
        geneformer = BertForMaskedLM(_bert_config(encoder))
        llama = LlamaForCausalLM(_llama_config(decoder))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projecting = build_projector(_projector_config(projector, encoder, decoder))
    block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed)) * _SPREAD
    _fill_randomly(geneformer, block)
    _fill_randomly(llama, block)
    restore_buffers(geneformer, llama)
    model = Cell2TextModel(geneformer, projecting, llama, top_k=options.top_k)
    model.requires_grad_(False)
    model.eval()
    tokenizer = synthetic_tokenizer(decoder.vocabulary)
    ends = tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
    settings = CheckpointSettings(
        name=f"{preset}, random weights",
        system_message=SYSTEM_MESSAGE,
        generation=Generation(no_repeat_ngram_size=3, eos_token_ids=tuple(ends)),
        licences=(Licence(part="all", licence="CC0-1.0", notice="random numbers"),),
        notes=f"random weights of preset {preset}, projector {projector}, seed {seed}",
    )
    return LoadedCheckpoint(
        model=model,
        genes=synthetic_genes(encoder, seed),
        tokenizer=tokenizer,
        tokenizer_json=tokenizer.backend_tokenizer.to_str(),
        prompt=render_prompt(tokenizer, settings),
        settings=settings,
        layout=f"preset {preset}, random, projector {projector}",
        random_weights=True,
    )


def synthetic_genes(sizes: EncoderSizes, seed: int = 0) -> GeneVocabularyArrays:
    """Genes ENSG00000000001, ... with random medians and symbols SYN1, ..."""
    count = sizes.vocabulary - sizes.special_tokens
    names = sorted((f"SYN{number}".encode(), number - 1) for number in range(1, count + 1))
    special = sizes.special_tokens == 4
    return GeneVocabularyArrays(
        ensembl_id=np.array([f"ENSG{number:011d}" for number in range(1, count + 1)], np.bytes_),
        token=np.arange(sizes.special_tokens, sizes.vocabulary, dtype=np.int32),
        median=np.random.default_rng(seed).lognormal(0.5, 0.5, count),
        alias=np.array([name for name, _ in names], np.bytes_),
        alias_gene=np.array([gene for _, gene in names], np.int32),
        pad_token=0,
        mask_token=1,
        cls_token=2 if special else None,
        eos_token=3 if special else None,
    )


def synthetic_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges, filled up to the size, with Llama 3's special tokens.

    The special tokens lie where Llama 3 has them: for 128,256 tokens the placeholder is 128003.
    """
    ordinary = int(vocabulary * _ORDINARY_SHARE) if vocabulary >= 128256 else vocabulary - 16
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {letter: token for token, letter in enumerate(letters)}
    # Fillers can be generated but never come out of text: no merge leads to them.
    tokens |= {f"Ġfiller{token}": token for token in range(len(tokens), ordinary)}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = [
        _SPECIAL.get(offset, f"<|reserved_special_token_{offset + 1}|>")
        for offset in range(vocabulary - ordinary)
    ]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = _TEMPLATE
    return fast


def _bert_config(sizes: EncoderSizes) -> BertConfig:
    return BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.positions,
        hidden_act="relu",
        pad_token_id=0,
    )


def _llama_config(sizes: DecoderSizes) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head_size,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.positions,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        rope_scaling=sizes.rope,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


def _projector_config(kind: str, encoder: EncoderSizes, decoder: DecoderSizes) -> ProjectorConfig:
    if kind == "mlp":
        return ProjectorConfig(
            kind="mlp",
            input_width=encoder.hidden_size,
            hidden=2048,
            output_width=decoder.hidden_size,
        )
    return ProjectorConfig(
        kind="perceiver",
        input_width=encoder.hidden_size,
        output_width=decoder.hidden_size,
        num_latents=128,
        feed_forward=2 * decoder.hidden_size,
        positions=10000,
    )


def _fill_randomly(model: nn.Module, block: torch.Tensor) -> None:
    """Give every parameter of a model on the meta device its memory, filled from the block."""
    tensors: dict[str, nn.Parameter] = {}
    place = 0
    for name, parameter in model.named_parameters():  # tied ones come once
        flat = torch.empty(parameter.numel())
        if parameter.dim() == 1:
            # Norm scales around one, biases and shifts around zero.
            flat.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            start = place % len(block)
            place += flat.numel()
            filled = 0
            while filled < flat.numel():
                piece = block[start : start + flat.numel() - filled]
                flat[filled : filled + len(piece)] = piece
                filled += len(piece)
                start = 0
        tensors[name] = nn.Parameter(flat.view(parameter.shape), requires_grad=False)
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
