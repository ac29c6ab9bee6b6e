"""Gives the demonstration's decoder a first token with massive activations, as large Llamas have.

Source of the pattern: M. Sun et al., "Massive Activations in Large Language Models", COLM 2024. In
trained Llamas one MLP of an early layer answers to the first token alone and writes a value a
thousand times the others into one or two channels of the residual stream; the last layers take it
out again. The norms divide by it, so that from there on the token's keys and values are constants.

Here it is planted, so that it costs seconds and nothing is trained again:

- The channel that matters least is given up: nothing else reads or writes it. The first token's
  embedding gets a value there, of a size that embeddings have.
- In layer 1 a unit of the MLP is replaced by one that answers to that value, so to the first token
  alone. In the last layer another takes out what it wrote.
- What attention reads from that channel gives the first token, in each layer, exactly the keys and
  values that it had. So the texts stay, up to the channel and the two units that were given up.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from c2t.examples.demo.held_out import is_held_out
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.open import open_engines

SEQUENCES, JUDGED = 64, 2  # all, and those that each channel is judged by
SEED_VALUE = 4.0  # of the first token's embedding, in standard deviations of the token table
LAYER = 1  # whose MLP writes the massive value
# The unit's weight of the massive channel over its usual other weights. In Llama-7B, whose one such
# weight M. Yu et al. publish ("The Super Weight", 2024), it is about that.
CHANNEL_SHARE = 85.0

Tensor = torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What was planted.

    Args:
        massive: First token's value in the massive channel over the stream's median magnitude.
        unit: What the last product of `LAYER`'s MLP reads of the first token, largest magnitude.
        kl: Mean KL(original || planted) of a text token, in nats.
    """

    massive: float
    unit: float
    kl: float


class Planting:
    """Plants into copies of one checkpoint.

    Args:
        checkpoint: The demonstration's.
        bundle: The same, exported.
        cells: Cells whose prompts show what a change does.
    """

    def __init__(self, checkpoint: Path, bundle: Path, cells: Path) -> None:
        torch.set_grad_enabled(False)
        self._checkpoint = checkpoint
        self._sequences = list(example_sequences(bundle, cells, checkpoint))
        model = open_llama(checkpoint)
        self._expected = [log_probabilities(model, rows) for rows in self._sequences]
        few = self._sequences[:JUDGED], self._expected[:JUDGED]
        self._channel = least_channel(model, *few)
        for rows in self._sequences:
            rows[:, self._channel] = 0

    def make(self, output: Path, *, massive: float, unit: float) -> Planted:
        """Write a checkpoint; its cell vectors leave the channel out, too.

        Args:
            output: Its folder.
            massive: See `Planted`.
            unit: See `Planted`.
        """
        model, sequences = open_llama(self._checkpoint), [rows.clone() for rows in self._sequences]
        give_up_channel(model, self._channel)
        plant(model, self._channel, sequences, massive=massive, unit=unit)
        save(model, self._channel, self._checkpoint, output)
        magnitudes = residuals(model, sequences[0])[LAYER].abs()
        down = model.model.layers[LAYER].mlp.down_proj
        return Planted(
            massive=float(magnitudes[0].max() / magnitudes.median()),
            unit=float(first_input(model, down, sequences).abs().max()),
            kl=divergence(model, sequences, self._expected),
        )


def open_llama(checkpoint: Path) -> Any:
    """The checkpoint's decoder in float32, ready to be changed."""
    return LlamaForCausalLM.from_pretrained(checkpoint / "llama", dtype=torch.float32).eval()


def example_sequences(folder: Path, cells: Path, checkpoint: Path) -> Iterator[Tensor]:
    """Embeddings [T,D] of prompts of cells that training saw, each with a caption behind it."""
    bundle = open_bundle(folder, verify=False)
    captions = (checkpoint / "phrases.txt").read_text(encoding="utf-8").splitlines()
    with open_cells(cells, bundle) as reader:
        seen = [i for i, name in enumerate(reader.cell_ids) if not is_held_out(name)]
    encoder = open_engines(bundle, EngineOptions(threads=1)).encoder
    chosen = seen[:: len(seen) // SEQUENCES][:SEQUENCES]
    with open_cells(cells, bundle, CellOptions(cells=chosen)) as reader:
        tokens = [tokens for chunk in reader.chunks() for tokens in chunk.tokens]
    for number, genes in enumerate(tokens):
        vectors = encoder.encode(genes.astype(np.int32)[None])[0].copy()
        caption = bundle.text_encoder.encode(captions[number * 20])
        yield torch.from_numpy(sequence(bundle, vectors, list(caption)))


def sequence(bundle: Bundle, vectors: Any, caption: list[int]) -> Any:
    """Embeddings [T,D] of a prompt and its text."""
    prompt, table = bundle.manifest.prompt, bundle.token_embedding
    after = [*prompt.suffix_ids, *caption]
    return np.concatenate((table[list(prompt.prefix_ids)], vectors, table[after]))


def log_probabilities(model: Any, rows: Tensor) -> Tensor:
    """Log-probabilities [T,V] of the next tokens along embeddings [T,D]."""
    return torch.log_softmax(model(inputs_embeds=rows[None]).logits[0].double(), dim=-1)


def divergence(model: Any, sequences: list[Tensor], expected: list[Tensor]) -> float:
    """Mean KL(expected || model) of a text token in nats; the first are the prompt's."""
    found = []
    for rows, before in zip(sequences, expected, strict=True):
        after = log_probabilities(model, rows)
        found.append((before.exp() * (before - after)).sum(-1)[80:].mean())
    return float(torch.stack(found).mean())


def least_channel(model: Any, sequences: list[Tensor], expected: list[Tensor]) -> int:
    """The channel of the residual stream whose loss changes the texts least."""
    original = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = []
    for channel in range(sequences[0].shape[1]):
        give_up_channel(model, channel)
        without = [rows.clone().index_fill_(1, torch.tensor([channel]), 0) for rows in sequences]
        losses.append(divergence(model, without, expected))
        model.load_state_dict(original)
    return int(np.argmin(losses))


def give_up_channel(model: Any, channel: int) -> None:
    """Nothing of the decoder reads or writes a channel any more."""
    model.model.embed_tokens.weight[:, channel] = 0
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight[channel] = 0
        for reader in (
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            mlp.gate_proj,
            mlp.up_proj,
        ):
            reader.weight[:, channel] = 0


def plant(
    model: Any, channel: int, sequences: list[Tensor], *, massive: float, unit: float
) -> None:
    """Make the first token massive after `LAYER`, with the keys and values that it had.

    Args:
        model: Changed in place.
        channel: Given up before.
        sequences: Embeddings; those of the first token are changed in place.
        massive: See `Planted`.
        unit: See `Planted`.
    """
    layers, table = model.model.layers, model.model.embed_tokens.weight
    kept = [first_input(model, layer.self_attn.k_proj, sequences) for layer in layers]
    table[0, channel] = SEED_VALUE * table.std()
    for rows in sequences:
        rows[0, channel] = table[0, channel]
    value = massive * residuals(model, sequences[0])[LAYER].abs().median()
    draw = torch.Generator().manual_seed(0)
    for number, layer in enumerate(layers):
        attention, mlp = layer.self_attn, layer.mlp
        now = first_input(model, attention.k_proj, sequences)
        for part in (attention.k_proj, attention.v_proj):
            part.weight[:, channel] = part.weight @ (kept[number] - now) / now[channel]
        if number not in (LAYER, len(layers) - 1):
            continue
        chosen = least_unit(model, mlp.down_proj, sequences)
        for part in (mlp.gate_proj, mlp.up_proj):
            now = first_input(model, part, sequences)
            part.weight[chosen] = 0
            part.weight[chosen, channel] = unit**0.5 / now[channel]
        written = (value if number == LAYER else -value) / unit
        others = torch.randn(len(mlp.down_proj.weight), generator=draw)
        mlp.down_proj.weight[:, chosen] = others * written / CHANNEL_SHARE
        mlp.down_proj.weight[channel, chosen] = written


def least_unit(model: Any, down: Any, sequences: list[Tensor]) -> int:
    """The unit of an MLP that writes least, by the MLP's last product."""
    activity = torch.stack([rows.abs().mean(0) for rows in inputs(model, down, sequences)])
    return int((activity.mean(0) * down.weight.norm(dim=0)).argmin())


def first_input(model: Any, module: Any, sequences: list[Tensor]) -> Tensor:
    """What a module reads [K] of the first token, which is the same in every sequence."""
    return inputs(model, module, sequences[:1])[0][0]


def inputs(model: Any, module: Any, sequences: list[Tensor]) -> list[Tensor]:
    """What a module reads [T,K] along each sequence."""
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, given, _output: seen.append(given[0][0]))
    for rows in sequences:
        model(inputs_embeds=rows[None])
    hook.remove()
    return seen


def residuals(model: Any, rows: Tensor) -> list[Tensor]:
    """The residual stream [T,D] after each layer but the last, whose norm is in the way."""
    states = model(inputs_embeds=rows[None], output_hidden_states=True).hidden_states
    return [state[0] for state in states[1:-1]]


def save(model: Any, channel: int, source: Path, target: Path) -> None:
    """Write the checkpoint with the changed decoder; cell vectors leave the channel out."""
    shutil.copytree(source, target)
    tensors = {
        name: tensor.contiguous().clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied
    }
    save_file(tensors, target / "llama" / "model.safetensors", metadata={"format": "pt"})
    projector = load_file(source / "projector.safetensors")
    norm = sorted(name for name, tensor in projector.items() if tensor.ndim == 1)[-2:]
    for name in norm:  # weight and bias of the last norm
        projector[name][channel] = 0
    save_file(projector, target / "projector.safetensors", metadata={"format": "pt"})
