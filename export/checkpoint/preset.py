"""Random checkpoints of real sizes, so that anyone can measure without gated weights.

One decision: only the weights are meaningless. Sizes, vocabulary sizes, prompt length and file
formats are those of the published models, so time and memory are too.
"""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from c2t.export.checkpoint.options import PresetOptions
from c2t.export.checkpoint.tensors.assembly import build_empty
from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.checkpoint.text.tokenizer import stored_tokenizer
from c2t.export.decoders.families import PRESETS as DECODERS
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import PRESETS as ENCODERS
from c2t.export.encoders.families import encoder_family
from c2t.export.model.family import ModelFamily
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.loaded_checkpoint import (
    PLACEHOLDER_TOKEN,
    CheckpointOutline,
    CheckpointSettings,
    LoadedParts,
    ProjectorCheck,
)
from c2t.export.projectors.families import FAMILIES as PROJECTORS
from c2t.export.projectors.families import build_projector
from c2t.runtime.bundle.manifest import Generation, Licence
from c2t.runtime.system.errors import CheckpointError

EMB_LAYER = -1
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


def outline_preset(options: PresetOptions) -> CheckpointOutline:
    """All of a random checkpoint but its weights.

    Raises:
        CheckpointError: There is no such preset or projector.
    """
    preset, kind, seed = options.preset, options.projector, options.seed
    decoder_name, _, encoder_name = preset.partition("+")
    if decoder_name not in DECODERS or encoder_name not in ENCODERS or kind not in PROJECTORS:
        problem = f"no preset {preset!r} with projector {kind!r}"
        raise CheckpointError(
            problem,
            hint=f"DECODER+ENCODER of {', '.join(DECODERS)} and {', '.join(ENCODERS)}; "
            f"projector {' or '.join(PROJECTORS)}",
        )
    encoder, decoder = ENCODERS[encoder_name].config(), DECODERS[decoder_name]()
    projector = PROJECTORS[kind].preset(encoder.hidden_size, decoder.hidden_size)
    tokenizer = synthetic_tokenizer(decoder.vocab_size)
    ends = tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
    settings = CheckpointSettings(
        name=f"{preset}, random weights",
        system_message=SYSTEM_MESSAGE,
        generation=Generation(no_repeat_ngram_size=3, eos_token_ids=tuple(ends)),
        licences=(Licence(part="all", licence="CC0-1.0", notice="random numbers"),),
        notes=f"random weights of preset {preset}, projector {kind}, seed {seed}",
    )

    def read_weights(check: ProjectorCheck) -> LoadedParts:
        check(projector)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            projecting = build_projector(projector)
        block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed)) * _SPREAD
        return LoadedParts(
            encoder=random_part(encoder_family(encoder.model_type), encoder, block),
            projector=projecting,
            decoder=random_part(decoder_family(decoder.model_type), decoder, block),
            layout=f"preset {preset}, random, projector {kind}",
        )

    return CheckpointOutline(
        encoder=encoder,
        decoder=decoder,
        projector=projector,
        genes=synthetic_genes(encoder.vocab_size, ENCODERS[encoder_name].special_tokens, seed),
        tokenizer=tokenizer,
        tokenizer_json=stored_tokenizer(tokenizer),
        prompt=render_prompt(tokenizer, settings),
        settings=settings,
        emb_layer=EMB_LAYER,
        top_k=options.top_k,
        random_weights=True,
        read_weights=read_weights,
    )


def synthetic_genes(vocabulary_size: int, special_tokens: int, seed: int = 0) -> EncoderVocabulary:
    """Genes ENSG00000000001, ... with random medians and symbols SYN1, ...

    Args:
        vocabulary_size: Rows of the encoder's gene table.
        special_tokens: How many of them are no genes: 2 as in V1, 4 as in V2.
        seed: Of the medians.
    """
    count = vocabulary_size - special_tokens
    names = sorted((f"SYN{number}".encode(), number - 1) for number in range(1, count + 1))
    special = special_tokens == 4
    return EncoderVocabulary(
        ensembl_id=np.array([f"ENSG{number:011d}" for number in range(1, count + 1)], np.bytes_),
        token=np.arange(special_tokens, vocabulary_size, dtype=np.int32),
        median=np.random.default_rng(seed).lognormal(0.5, 0.5, count),
        alias=np.array([name for name, _ in names], np.bytes_),
        alias_gene=np.array([gene for _, gene in names], np.int32),
        pad_token=0,
        mask_token=1,
        cls_token=2 if special else None,
        eos_token=3 if special else None,
    )


def synthetic_tokenizer(vocabulary_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges, filled up to the size, with Llama 3's special tokens.

    The special tokens lie where Llama 3 has them: for 128,256 tokens the placeholder is 128003.
    """
    full = vocabulary_size >= 128256
    ordinary = int(vocabulary_size * _ORDINARY_SHARE) if full else vocabulary_size - 16
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {letter: token for token, letter in enumerate(letters)}
    # A model can generate a filler. Encoding a text never gives one, as no merge leads to it.
    tokens |= {f"Ġfiller{token}": token for token in range(len(tokens), ordinary)}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = [
        _SPECIAL.get(offset, f"<|reserved_special_token_{offset + 1}|>")
        for offset in range(vocabulary_size - ordinary)
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


def random_part(family: ModelFamily, config: PretrainedConfig, block: torch.Tensor) -> nn.Module:
    """An encoder or decoder whose weights repeat the block of random numbers."""
    model = build_empty(family, config)
    _fill_randomly(model, block, norm_weight=family.norm_weight)
    family.restore_buffers(model)
    return model


def _fill_randomly(model: nn.Module, block: torch.Tensor, *, norm_weight: float) -> None:
    """Give every parameter of a model on the meta device its memory, filled from the block."""
    tensors: dict[str, nn.Parameter] = {}
    place = 0
    for name, parameter in model.named_parameters():  # tied ones come once
        flat = torch.empty(parameter.numel())
        if parameter.dim() == 1:
            # Norms that change nothing; biases and shifts of zero.
            flat.fill_(norm_weight if name.endswith("weight") else 0.0)
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
