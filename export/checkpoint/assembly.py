"""Weights into modules: every tensor must find its place and every place its tensor.

One decision: modules are built without memory (torch's meta device) and the checkpoint's tensors
become their parameters, so memory-mapped float32 weights are used where they lie; other float
types are converted one tensor at a time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from c2t.export.checkpoint.files import read_json
from c2t.export.model.projector import (
    MlpProjector,
    PerceiverProjector,
    ProjectorConfig,
    build_projector,
)
from c2t.runtime.system.errors import CheckpointError

_Module = TypeVar("_Module", bound=nn.Module)
_Config = TypeVar("_Config", BertConfig, LlamaConfig)

# Names that some saves hold and that no output depends on, with the reason.
TOLERATED = {
    "bert.embeddings.position_ids": "0, 1, 2, ...: saved by transformers before 4.31",
    "bert.embeddings.token_type_ids": "zeros: a buffer, not a weight",
    "bert.pooler.dense.weight": "the pooler is not part of a masked LM",
    "bert.pooler.dense.bias": "the pooler is not part of a masked LM",
}
# Old Llama saves hold `model.layers.N.self_attn.rotary_emb.inv_freq`, a function of the config.
_TOLERATED_ENDINGS = (".rotary_emb.inv_freq",)
# Where a module's second name for the same tensor is; the first is the one that is filled.
_TIED_BERT = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_TIED_LLAMA = {"lm_head.weight": "model.embed_tokens.weight"}


def build_geneformer(config: BertConfig, tensors: Mapping[str, Tensor]) -> BertForMaskedLM:
    """A Geneformer with these weights, in evaluation mode."""
    with torch.device("meta"):
        model = BertForMaskedLM(config)
    tied = dict(_TIED_BERT)
    if not config.tie_word_embeddings:  # the bias has two names even then
        del tied["cls.predictions.decoder.weight"]
    fill(model, tensors, part="encoder", tied=tied)
    restore_buffers(model)
    return _finished(model)


def build_llama(config: LlamaConfig, tensors: Mapping[str, Tensor]) -> LlamaForCausalLM:
    """A Llama with these weights, in evaluation mode."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    fill(model, tensors, part="decoder", tied=_TIED_LLAMA if config.tie_word_embeddings else {})
    restore_buffers(model)
    return _finished(model)


def build_projector_with(
    config: ProjectorConfig, tensors: Mapping[str, Tensor]
) -> MlpProjector | PerceiverProjector:
    """A projector with these weights, in evaluation mode."""
    with torch.device("meta"):
        model = build_projector(config)
    fill(model, tensors, part="projector", tied={})
    return _finished(model)


def read_config(path: Path, kind: type[_Config]) -> _Config:
    """Read the config.json of a part.

    Raises:
        CheckpointError: It is missing, or of a model of another type.
    """
    fields = read_json(path)
    if fields.get("model_type") != kind.model_type:
        problem = f"{path}: model_type is {fields.get('model_type')!r}, not {kind.model_type!r}"
        raise CheckpointError(problem, hint="the encoder is a BERT, the decoder a Llama")
    try:
        return kind(**fields)
    except (TypeError, ValueError, KeyError) as error:
        problem = f"{path}: {error}"
        raise CheckpointError(problem, hint="download the folder again") from error


def restore_buffers(*parts: BertForMaskedLM | LlamaForCausalLM) -> None:
    """Compute what is not saved with the weights, so still without memory on the meta device."""
    for model in parts:
        if isinstance(model, LlamaForCausalLM):
            model.model.rotary_emb = LlamaRotaryEmbedding(config=model.config)
            continue
        positions = torch.arange(model.config.max_position_embeddings)[None]
        embeddings = model.bert.embeddings
        embeddings.register_buffer("position_ids", positions, persistent=False)
        embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)


def fill(
    model: nn.Module, tensors: Mapping[str, Tensor], *, part: str, tied: Mapping[str, str]
) -> None:
    """Make the tensors the parameters of a module, in float32.

    Args:
        model: Built on the meta device.
        tensors: By their names in the module.
        part: What the module is, for the error.
        tied: Second names of tied tensors; they may be absent, or equal to the first.

    Raises:
        CheckpointError: Lists every tensor that is missing, has no place, or has another shape.
    """
    places = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    chosen: dict[str, Tensor] = {}
    problems = []
    for name, tensor in tensors.items():
        if name in TOLERATED or name.endswith(_TOLERATED_ENDINGS):
            continue
        first = tied.get(name, name)
        if first not in places:
            problems.append(f"{name} {list(tensor.shape)}: has no place in the {part}")
        elif tuple(tensor.shape) != places[first]:
            problems.append(
                f"{name}: has shape {list(tensor.shape)}, the {part} needs {list(places[first])}"
            )
        elif first == name:
            chosen[name] = tensor
        elif first not in tensors:
            chosen[first] = tensor
        elif not _same(tensor, tensors[first]):
            problems.append(f"{name}: differs from {first}, but the config ties them")
    problems += [
        f"{name} {list(shape)}: missing"
        for name, shape in places.items()
        if name not in chosen and tied.get(name, name) not in chosen
        if not any(problem.startswith((f"{name}:", f"{name} ")) for problem in problems)
    ]
    if problems:
        problem = f"the checkpoint does not fit the {part}, {len(problems)} tensors:\n" + "\n".join(
            f"- {line}" for line in sorted(problems)
        )
        raise CheckpointError(
            problem, hint="check that config.json and the weights are of the same model"
        )
    model.load_state_dict(
        {name: as_float32(tensor) for name, tensor in chosen.items()}, strict=False, assign=True
    )
    for second, first in tied.items():
        if second in places:
            owner, _, leaf = second.rpartition(".")
            setattr(model.get_submodule(owner), leaf, model.get_parameter(first))


def as_float32(tensor: Tensor) -> Tensor:
    """The tensor itself where it is float32 already, else converted."""
    return tensor.detach().to(torch.float32).contiguous()


def _same(one: Tensor, other: Tensor) -> bool:
    if one.data_ptr() == other.data_ptr() and one.dtype == other.dtype:
        return True
    return bool(torch.equal(one.to(other.dtype), other))


def _finished(model: _Module) -> _Module:
    empty = [
        name
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if tensor.is_meta
    ]
    if empty:  # a newer transformers with a buffer that is not known here
        problem = "these tensors are in no checkpoint and were not computed: " + ", ".join(empty)
        raise CheckpointError(problem, hint="use the transformers version that c2t is tested with")
    model.requires_grad_(False)
    model.eval()
    return model
