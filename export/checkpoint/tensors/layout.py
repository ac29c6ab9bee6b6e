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
_DOUBLED = re.compile(r"^(cell_encoder|decoder|cell_to_embedding)\.(?=\1\.)")
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")  # DistributedDataParallel, torch.compile
_LORA = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight$")
_SAVED = re.compile(r"\.modules_to_save(?:\.default)?\.")


@dataclass(kw_only=True)
class SortedTensors:
    """The tensors of one file by the part they belong to, under the names of that part."""

    parts: dict[str, dict[str, Tensor]] = field(
        default_factory=lambda: {ENCODER: {}, PROJECTOR: {}, DECODER: {}}
    )
    # (part, module) -> "A" or "B" -> tensor
    lora: dict[tuple[str, str], dict[str, Tensor]] = field(default_factory=dict)
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
        CheckpointError: Lists every tensor whose name is not understood, or that is there twice.
    """
    result = SortedTensors()
    trained = {_SAVED.sub(".", name) for name in tensors if _SAVED.search(name)}
    problems = []
    for name, tensor in tensors.items():
        # PEFT keeps the untrained original beside a module that it trained in full.
        if ".original_module." in name:
            result.traits.add("modules_to_save")
            if name.replace(".original_module.", ".") in trained:
                continue
        problem = _place(name, tensor, result)
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
            "decoder.llama., plain or wrapped by PEFT (LoRA only)",
        )
    return result


def _place(name: str, tensor: Tensor, result: SortedTensors) -> str:
    """Put one tensor where it belongs; returns what is wrong with it, if anything."""
    plain = _WRAPPERS.sub("", name)
    if plain != name:
        result.traits.add("data-parallel or compiled names")
    if "base_model.model." in plain:
        result.traits.add("PEFT names")
        plain = plain.replace("base_model.model.", "")
    if ".base_layer." in plain:
        plain = plain.replace(".base_layer.", ".")
    if _SAVED.search(plain):
        result.traits.add("modules_to_save")
        plain = _SAVED.sub(".", plain)
    plain = plain.replace(".original_module.", ".")
    while _DOUBLED.match(plain):
        result.traits.add("doubled prefixes")
        plain = _DOUBLED.sub("", plain)
    prefix = next((prefix for prefix in _PREFIXES if plain.startswith(prefix)), None)
    if prefix is None:
        return "belongs to no known part"
    part, inner = _PREFIXES[prefix], plain[len(prefix) :]
    if prefix == "llama.":
        result.traits.add("old names without `decoder.`")
    match = _LORA.match(inner)
    if match:
        pair = result.lora.setdefault((part, match["module"]), {})
        if match["side"] in pair:
            return "is there for two adapters"
        pair[match["side"]] = tensor
    elif "lora_" in inner:
        return "is of a LoRA variant that cannot be merged"
    elif inner in result.parts[part]:
        return "is there twice"
    else:
        result.parts[part][inner] = tensor
    return ""
