"""A tiny random chat of CellWhisperer's kind: LLaVA's folder with a Mistral and its projector."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_decoders import tiny_decoder_of
from tiny_joint import SPACE
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
from torch import Tensor, nn
from transformers import MistralForCausalLM, PreTrainedTokenizerFast

WIDTH, VECTORS = 32, 8
USUAL = "Describe the biological state of these cells"
TEMPLATE = (
    "[INST] Help me with these cells [/INST] Sure, which ones? </s>"
    f"[INST] {{question:{USUAL}}}\n<image> [/INST]"
)
# What LLaVA writes beside the decoder's own fields.
LLAVA: dict[str, Any] = {
    "model_type": "llava_mistral",
    "architectures": ["LlavaMistralForCausalLM"],
    "mm_projector_type": "mlp2x_8t_gelu",
    "mm_hidden_size": SPACE,
    "mm_vision_tower": "geneformer",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "mm_projector_lr": 2e-5,
    "tune_mm_mlp_adapter": False,
    "freeze_mm_mlp_adapter": False,
    "use_mm_proj": True,
    "image_aspect_ratio": "pad",
    "tokenizer_padding_side": "right",
    "tokenizer_model_max_length": 2048,
}


@cache
def chat_tokenizer() -> PreTrainedTokenizerFast:
    """As Mistral's: "▁" before each text and for spaces, bytes as a fallback, <s> in front."""
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    words = [f"▁{word}" for word in f"{TEMPLATE} the T cell of a tumour is".split()]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*special, *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(words * 3, trainer)
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = stored["added_tokens"][: len(special)]
    tokenizer = Tokenizer.from_str(json.dumps(stored))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def chat_decoder() -> MistralForCausalLM:
    """A random Mistral with that tokenizer's vocabulary, without a window, as v0.2."""
    return tiny_decoder_of(
        "mistral",
        seed=3,
        vocab_size=len(chat_tokenizer()),
        hidden_size=WIDTH,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
    )


def chat_projector(seed: int = 4) -> nn.Sequential:
    """`mm_projector` with weights that make its GELU bend."""
    torch.manual_seed(seed)
    wide = VECTORS * WIDTH
    layers = nn.Sequential(nn.Linear(SPACE, wide), nn.GELU(), nn.Linear(wide, wide))
    layers[0].weight.data *= 12
    return layers.eval().requires_grad_(False)


def chat_tensors(decoder: MistralForCausalLM, projector: nn.Sequential) -> dict[str, Tensor]:
    """All tensors of the folder by their published names."""
    mm = {f"model.mm_projector.{name}": t for name, t in projector.state_dict().items()}
    return {n: t.clone().contiguous() for n, t in (decoder.state_dict() | mm).items()}


def write_chat(
    folder: Path,
    decoder: MistralForCausalLM,
    tensors: dict[str, Tensor],
    *,
    shards: str = "safetensors",
    **config: Any,
) -> Path:
    """Write the folder; its weights are two shards."""
    folder.mkdir(parents=True)
    fields = decoder.config.to_dict() | LLAVA | config
    (folder / "config.json").write_text(json.dumps(fields))
    chat_tokenizer().save_pretrained(folder)
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        base = "model" if shards == "safetensors" else "pytorch_model"
        file = f"{base}-{number:05}-of-00002.{shards}"
        held = {name: tensors[name] for name in part}
        if shards == "safetensors":
            save_file(held, folder / file)
        else:
            torch.save(held, folder / file)
        places |= dict.fromkeys(part, file)
    index = "model.safetensors" if shards == "safetensors" else "pytorch_model.bin"
    (folder / f"{index}.index.json").write_text(json.dumps({"weight_map": places}))
    return folder
