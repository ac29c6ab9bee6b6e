"""A part of gpu_engines.py: times of the gene embedding and of the choice of tokens.

The embedding is compared with a copy on the device, and with PyTorch where it is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gpu_checks import check_choice, check_gene_embedding
from gpu_timing import REPEATS, WARM_UP, copy_bandwidth, device_seconds

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.gene_embedding.cuda import DeviceCells, DeviceTables, launch_gene_embedding
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.kernels.tokens.cuda import choice_scratch_bytes, launch_choose_tokens

HIDDEN_SIZES = (256, 768, 1152)  # of the published checkpoints
GENES, POSITIONS, CELLS = 20_275, 4096, 16
VOCABULARY = 128_256  # of Llama 3


def time_kernels(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """Check both kernels at the sizes that are timed, then time them."""
    device = CudaDevice()
    for hidden_size in HIDDEN_SIZES:
        check_gene_embedding(device, hidden_size, "float32", "float32")
    check_choice(device, VOCABULARY, "float32")
    bandwidth = copy_bandwidth(device)
    note(copy_bytes_per_second=bandwidth)
    for hidden_size in HIDDEN_SIZES:
        note(**{f"embedding of {hidden_size}": time_embedding(device, hidden_size, bandwidth)})
    note(choice_seconds={rows: time_choice(device, rows) for rows in (1, 17)})


def time_embedding(device: CudaDevice, hidden_size: int, bandwidth: float) -> dict[str, Any]:
    """Sixteen cells of 4096 genes, float32."""
    draw = np.random.default_rng(0)
    tables = GeneEmbeddingTables(
        word=draw.standard_normal((GENES, hidden_size), np.float32),
        position=draw.standard_normal((POSITIONS, hidden_size), np.float32),
        token_type=draw.standard_normal(hidden_size, np.float32),
        gamma=draw.standard_normal(hidden_size, np.float32),
        beta=draw.standard_normal(hidden_size, np.float32),
    )
    tokens = np.stack([draw.permutation(GENES)[:POSITIONS] for _ in range(CELLS)]).astype(np.int32)
    cells = DeviceCells.upload(tokens, np.full(CELLS, POSITIONS, np.int32), tables)
    on_device = DeviceTables.upload(tables)
    out = DeviceArray.allocate((CELLS, POSITIONS, hidden_size), np.float32)
    embed = partial(launch_gene_embedding, device, cells, on_device, out.pointer, dtype=np.float32)
    seconds = device_seconds(device, embed)
    # Word rows are read and embeddings written. The cells share the position rows (cache).
    moved = 2 * tokens.size * hidden_size * 4 + POSITIONS * hidden_size * 4
    torch_seconds = time_torch(tables, tokens)
    return {
        "seconds": seconds,
        "gb_per_s": moved / seconds / 1e9,
        "of_copy_bandwidth": moved / seconds / bandwidth,
        "times_torch": torch_seconds / seconds if torch_seconds else None,
    }


def time_torch(tables: GeneEmbeddingTables, tokens: np.ndarray) -> float | None:
    """Seconds of PyTorch's eager BertEmbeddings on the same GPU; None where it is not installed."""
    try:
        import torch
        from transformers.models.bert.modeling_bert import BertConfig, BertEmbeddings
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    config = BertConfig(
        vocab_size=tables.vocabulary_size,
        hidden_size=tables.hidden_size,
        max_position_embeddings=POSITIONS,
        num_attention_heads=1,
    )
    layer = BertEmbeddings(config).eval().cuda()
    ids = torch.from_numpy(tokens.astype(np.int64)).cuda()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    with torch.inference_mode():
        for _ in range(REPEATS + WARM_UP):
            begin.record()
            layer(ids)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
    return float(np.median(times[WARM_UP:]))


def time_choice(device: CudaDevice, rows: int) -> float:
    """Seconds of choosing from rows of float32 logits, with nine banned tokens each."""
    draw = np.random.default_rng(0)
    logits = DeviceArray.upload(draw.standard_normal((rows, VOCABULARY), np.float32))
    banned = DeviceArray.upload(draw.integers(0, VOCABULARY, (rows, 9)).astype(np.int32))
    scratch = DeviceArray.zeros((choice_scratch_bytes(rows, VOCABULARY),), np.uint8)
    tokens, probability, finite = (DeviceArray.allocate((rows,), d) for d in ("i4", "f4", "i4"))
    return device_seconds(
        device,
        partial(
            launch_choose_tokens,
            device,
            logits=logits.pointer,
            dtype="float32",
            banned=banned.pointer,
            bans=9,
            scratch=scratch.pointer,
            tokens=tokens.pointer,
            probability=probability.pointer,
            finite=finite.pointer,
            count=rows,
            vocabulary_size=VOCABULARY,
        ),
    )
