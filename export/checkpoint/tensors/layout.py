"""Which part each tensor of a checkpoint belongs to, and its name there.

One decision: a few rules that hold for all layouts normalise the names. A table per layout would
not do, because saves mix layouts (a PEFT wrapper around a plain save, for instance).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from c2t.runtime.system.errors import CheckpointError

ENCODER, PROJECTOR, DECODER = "encoder", "projector", "decoder"
# Longest first; a prefix may be there twice (a save that adds the module's name to full names).
_PREFIXES = {
    "cell_encoder.geneformer_model.": ENCODER,
    "cell_to_embedding.": PROJECTOR,
    "decoder.llama.": DECODER,
    "llama.": DECODER,  # adapters made when the decoder alone was wrapped
}
# What names start with in adapters of which the decoder itself was wrapped.
_DECODER_ITSELF = (
    *("model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."),
    *("gpt_neox.", "embed_out."),
)
_DOUBLED = re.compile(r"^(cell_encoder|decoder|cell_to_embedding)\.(?=\1\.)")
# DistributedDataParallel, torch.compile, FSDP, activation checkpointing: anywhere in a name.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# The attribute that a trainer keeps the whole model in: Lightning's `model.`, for instance.
_OWNER = re.compile(
    r"^(?P<owner>.+?\.)(?=(?:cell_encoder\.)+geneformer_model\.|cell_to_embedding\.|"
    r"(?:decoder\.)+llama\.)"
)
_PEFT = "base_model.model."
_LORA = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight$")
_SAVED = re.compile(r"\.modules_to_save\.(?:(?P<adapter>[^.]+)\.)?")
# What other names of PEFT and FSDP mean, to say why they cannot be taken.
_VARIANTS = {
    "lora_embedding_": "is LoRA on an embedding, which cannot be merged here",
    "lora_magnitude_vector": "is of DoRA, a LoRA variant that cannot be merged",
    "lora_": "is of a LoRA variant that cannot be merged",
    "token_adapter.": "is of trained token rows (trainable_token_indices), which cannot be merged",
    "vera_": "is of VeRA, which cannot be merged",
    "hada_": "is of LoHa, which cannot be merged",
    "lokr_": "is of LoKr, which cannot be merged",
    "ia3_": "is of IA3, which cannot be merged",
    "_flat_param": "is a flat parameter of FSDP: save with StateDictType.FULL_STATE_DICT",
    "prompt_encoder.": "is of a trained prompt, which cannot be merged",
}


@dataclass(kw_only=True)
class SortedTensors:
    """The tensors of one file by the part they belong to, under the names of that part."""

    parts: dict[str, dict[str, Tensor]] = field(
        default_factory=lambda: {ENCODER: {}, PROJECTOR: {}, DECODER: {}}
    )
    # (part, module) -> "A" or "B" -> tensor
    lora: dict[tuple[str, str], dict[str, Tensor]] = field(default_factory=dict)
    # (part, module) -> the module's name in the model that PEFT wrapped, for its patterns
    wrapped_names: dict[tuple[str, str], str] = field(default_factory=dict)
    # (part, name) of tensors that modules_to_save trained as copies
    copies: set[tuple[str, str]] = field(default_factory=set)
    # by name in the file: what a copy was made of
    originals: dict[str, Tensor] = field(default_factory=dict)
    traits: set[str] = field(default_factory=set)  # what was recognised, in words

    def describe(self) -> str:
        """The parts that are there and what was recognised, for people."""
        held = [part for part, tensors in self.parts.items() if tensors]
        held += ["LoRA"] if self.lora else []
        return ", ".join([" + ".join(held), *sorted(self.traits)])


def sort_tensors(tensors: Mapping[str, Tensor], *, source: str) -> SortedTensors:
    """Sort a file's tensors by part.

    Args:
        tensors: By the names in the file.
        source: The file, for the error.

    Raises:
        CheckpointError: Lists every tensor whose name is not understood, or that is there twice;
            names two adapters, two copies of the model, or empty tensors.
    """
    _check_full(tensors, source)
    names = {name: _WRAPPERS.sub("", name) for name in tensors}
    adapters = _check_one_adapter(list(names.values()), source)
    owner = _check_one_owner(list(names.values()), source)
    result = SortedTensors()
    if any(name != plain for name, plain in names.items()):
        result.traits.add("data-parallel or compiled names")
    if owner:
        result.traits.add(f"names under `{owner}`")
    trained = {_without_copies(plain, adapters) for plain in names.values() if _SAVED.search(plain)}
    problems = []
    for name, tensor in tensors.items():
        # PEFT keeps the untrained original beside a module that it trained in full.
        if ".original_module." in names[name]:
            result.traits.add("modules_to_save")
            if names[name].replace(".original_module.", ".") in trained:
                result.originals[names[name]] = tensor
                continue
        problem = _place(names[name], tensor, result, adapters, owner)
        if problem:
            problems.append(f"{name} {list(tensor.shape)}: {problem}")
    for (part, module), pair in result.lora.items():
        if len(pair) != 2:
            problems.append(f"{part} {module}: only lora_{next(iter(pair))} is there")
    if problems:
        problem = f"{source}: {len(problems)} tensors cannot be placed:\n" + "\n".join(
            f"- {line}" for line in sorted(problems)
        )
        raise CheckpointError(
            problem,
            hint="names start with cell_encoder.geneformer_model., cell_to_embedding. or "
            "decoder.llama., plain or wrapped by PEFT (LoRA only); see `c2t help export`",
        )
    return result


def _check_full(tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors without elements: DeepSpeed's ZeRO-3 leaves them where nothing was gathered.

    Raises:
        CheckpointError: Says how many.
    """
    empty = [name for name, tensor in tensors.items() if not tensor.numel()]
    if empty:
        problem = f"{source}: {len(empty)} of {len(tensors)} tensors are empty, like {empty[0]}"
        raise CheckpointError(
            problem,
            hint="DeepSpeed ZeRO-3 saved a part only: gather the weights by its zero_to_fp32.py",
        )


def _check_one_adapter(names: list[str], source: str) -> set[str]:
    """The name of the adapter, if any is stated, and `default`.

    Raises:
        CheckpointError: There are two: which of them was at work is not in the file.
    """
    lora = {match["adapter"] for name in names if (match := _LORA.match(name))} - {None}
    known = {*lora, "default"}
    saved = {match["adapter"] for name in names if (match := _SAVED.search(name))} & known
    adapters = sorted(str(name) for name in lora | saved)
    if len(adapters) > 1:
        problem = f"{source} holds {len(adapters)} adapters: {', '.join(adapters)}"
        hint = (
            "save the one to export: model.save_pretrained(DIR, selected_adapters=[NAME]), and "
            "pass --adapter DIR"
        )
        raise CheckpointError(problem, hint=hint)
    return {str(name) for name in known}


def _check_one_owner(names: list[str], source: str) -> str:
    """The attribute that all parts lie in, with a dot; empty where they lie at the top.

    Raises:
        CheckpointError: There are two copies of the model, like one of averaged weights.
    """
    owners = set()
    for name in names:
        plain = name.replace(_PEFT, "")
        match = _OWNER.match(plain)
        if match:
            owners.add(match["owner"])
        elif plain.startswith(tuple(_PREFIXES)):
            owners.add("")
    owners -= {"cell_encoder.", "decoder."}  # a save that adds the module's name to full names
    if len(owners) > 1:
        listed = ", ".join(f"`{owner}`" if owner else "the top" for owner in sorted(owners))
        problem = f"{source} holds more than one model: names start at {listed}"
        raise CheckpointError(problem, hint="save the state dict of the one that is to be exported")
    return next(iter(owners), "")


def _without_copies(name: str, adapters: set[str]) -> str:
    """The name without `modules_to_save` and the adapter's name behind it."""
    return _SAVED.sub(
        lambda match: "." if match["adapter"] in {None, *adapters} else f".{match['adapter']}.",
        name,
    )


def _place(name: str, tensor: Tensor, result: SortedTensors, adapters: set[str], owner: str) -> str:
    """Put one tensor where it belongs; returns what is wrong with it, if anything."""
    plain = name
    if _PEFT in plain:
        result.traits.add("PEFT names")
        plain = plain.replace(_PEFT, "")
    plain = plain.removeprefix(owner)
    plain = plain.replace(".base_layer.", ".")
    copied = bool(_SAVED.search(plain))
    if copied:
        result.traits.add("modules_to_save")
        plain = _without_copies(plain, adapters)
    plain = plain.replace(".original_module.", ".")
    while _DOUBLED.match(plain):
        result.traits.add("doubled prefixes")
        plain = _DOUBLED.sub("", plain)
    prefix = next((prefix for prefix in _PREFIXES if plain.startswith(prefix)), None)
    if prefix is None and plain.startswith(_DECODER_ITSELF):
        prefix, plain = "llama.", f"llama.{plain}"
        result.traits.add("names of the decoder alone")
    elif prefix == "llama.":
        result.traits.add("old names without `decoder.`")
    if prefix is None:
        return ("" if _LORA.match(plain) else _variant(plain)) or "belongs to no known part"
    part, inner = _PREFIXES[prefix], plain[len(prefix) :]
    match = _LORA.match(inner)
    if match:
        pair = result.lora.setdefault((part, match["module"]), {})
        if match["side"] in pair:
            return "is there twice"
        pair[match["side"]] = tensor
        seen = _LORA.match(name.rpartition(_PEFT)[2])
        assert seen is not None
        result.wrapped_names[part, match["module"]] = seen["module"]
        return ""
    variant = _variant(inner)
    if not variant and inner in result.parts[part]:
        return "is there twice"
    if not variant:
        result.parts[part][inner] = tensor
        result.copies |= {(part, inner)} if copied else set()
    return variant


def _variant(name: str) -> str:
    """Why a name of another method, or of a save in shards, cannot be taken; empty: it is none."""
    if ".lora_" in name and name.endswith(".bias"):
        return "is of LoRA with biases (lora_bias), which cannot be merged"
    return next((words for mark, words in _VARIANTS.items() if mark in name), "")
