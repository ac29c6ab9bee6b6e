"""PyTorch on the GPU as a peer: Llama at the same sizes, eager with a growing cache, and compiled.

The weights are random and its own: what is compared is time. Prints one JSON object.

    python benchmarks/gpu_peer.py float16 eager|compiled PROMPT STEPS
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

WARM_UP = 5


def llama(dtype: torch.dtype) -> LlamaForCausalLM:
    """Llama-3.2-1B's sizes, random weights, made on the GPU."""
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=8192,
        rope_theta=500_000.0,
        tie_word_embeddings=True,
    )
    torch.set_default_dtype(dtype)
    with torch.device("cuda"):
        return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def eager(model: Any, prompt: int, steps: int) -> dict[str, Any]:
    """Prefill and single steps with transformers' default cache, each with its arg-max."""
    ids = torch.randint(0, 128256, (1, prompt), device="cuda")
    times = []
    for _ in range(3):
        torch.cuda.synchronize()
        since = perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.item()
        times.append(perf_counter() - since)
    cache, each = out.past_key_values, []
    for _ in range(steps + WARM_UP):
        since = perf_counter()
        out = model(input_ids=token, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.item()
        each.append(perf_counter() - since)
    return {"prefill_seconds": sorted(times)[1], "step_seconds": median(each[WARM_UP:])}


@torch.inference_mode()
def compiled(model: Any, prompt: int, steps: int) -> dict[str, Any]:
    """Single steps over a static cache, `torch.compile` with CUDA graphs."""
    length = prompt + steps + WARM_UP + 8
    cache = StaticCache(config=model.config, max_cache_len=length)
    ids = torch.randint(0, 128256, (1, prompt), device="cuda")
    positions = torch.arange(prompt, device="cuda")
    model(input_ids=ids, past_key_values=cache, cache_position=positions, use_cache=True)

    def step(token: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        out = model(input_ids=token, past_key_values=cache, cache_position=place, use_cache=True)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    run = torch.compile(step, mode="reduce-overhead", fullgraph=False)
    token, each = ids[:, -1:], []
    for number in range(steps + WARM_UP):
        place = torch.tensor([prompt + number], device="cuda")
        torch.compiler.cudagraph_mark_step_begin()
        since = perf_counter()
        token = run(token, place).clone()
        token.item()
        each.append(perf_counter() - since)
    return {"step_seconds": median(each[WARM_UP:]), "first_step_seconds": each[0]}


def median(values: list[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Measure one way."""
    dtype, way, prompt, steps = sys.argv[1:5]
    model = llama(getattr(torch, dtype))
    figures = {"eager": eager, "compiled": compiled}[way](model, int(prompt), int(steps))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({**figures, **versions, "dtype": dtype}))


if __name__ == "__main__":
    main()
