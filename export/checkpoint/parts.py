"""Checkpoints in parts: Geneformer and Llama folders beside a full state dict, an adapter, or both.

One decision: a part that the checkpoint holds comes from there completely; a part that it does not
hold at all comes from its folder. Nothing is filled up from two places tensor by tensor, except
that an adapter replaces what it trained.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import BertConfig, LlamaConfig, PreTrainedTokenizerBase

from c2t.export.checkpoint.assembly import (
    build_geneformer,
    build_llama,
    build_projector_with,
    read_config,
)
from c2t.export.checkpoint.files import read_json, read_model_folder, read_tensors
from c2t.export.checkpoint.folder import load_tokenizer
from c2t.export.checkpoint.genes import load_genes
from c2t.export.checkpoint.layout import (
    DECODER,
    ENCODER,
    PROJECTOR,
    SortedTensors,
    sort_tensors,
)
from c2t.export.checkpoint.lora import LoraScale, merge_lora, scale_from_config
from c2t.export.checkpoint.options import (
    CheckpointOptions,
    CheckpointSettings,
    LoadedCheckpoint,
    override_settings,
)
from c2t.export.checkpoint.prompt import render_prompt
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import projector_config_from_shapes
from c2t.runtime.bundle.manifest import Generation, Licence
from c2t.runtime.system.errors import CheckpointError

_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(kw_only=True)
class _Collected:
    """Tensors of all parts, and the story of where they came from."""

    parts: dict[str, dict[str, Tensor]] = field(
        default_factory=lambda: {ENCODER: {}, PROJECTOR: {}, DECODER: {}}
    )
    story: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)


def load_checkpoint_parts(options: CheckpointOptions) -> LoadedCheckpoint:
    """Load a checkpoint that is spread over folders and files.

    Raises:
        CheckpointError: A part is missing or does not fit; every offending tensor is listed.
    """
    if options.geneformer is None or options.llama is None:
        problem = "both --geneformer and --llama are needed: they hold the configs and tokenizer"
        raise CheckpointError(problem, hint="pass the folders the model was trained from")
    if options.checkpoint is None and options.adapter is None:
        problem = "nothing trained was named: no --checkpoint and no --adapter"
        raise CheckpointError(problem, hint="the projector is in one of them")
    beside = _reference_config(options.checkpoint)
    tokenizer, tokenizer_json = load_tokenizer(options.llama)
    settings = _settings(options, tokenizer, beside)
    prompt = render_prompt(tokenizer, settings)  # a missing message must not cost a long loading
    collected = _Collected()
    lora, scale = _collect_trained(options, collected)
    _collect_base(options.geneformer, ENCODER, collected)
    _collect_base(options.llama, DECODER, collected)
    if lora is not None:
        merged = merge_lora(collected.parts, lora, scale)
        collected.story.append(f"LoRA merged into {len(merged)} weights, {_strength(lora, scale)}")
    model = _build_model(options, collected, beside)
    genes, gene_files = load_genes(options, vocabulary_size=model.encoder.config.vocab_size)
    collected.files |= gene_files
    return LoadedCheckpoint(
        model=model,
        genes=genes,
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        prompt=prompt,
        settings=settings,
        layout="; ".join(collected.story),
        source_files=collected.files,
    )


def _collect_trained(
    options: CheckpointOptions, collected: _Collected
) -> tuple[SortedTensors | None, LoraScale]:
    """Read checkpoint and adapter; returns the LoRA pairs and their strength."""
    lora: SortedTensors | None = None
    scale = LoraScale(alpha=options.lora_alpha)
    if options.checkpoint is not None:
        path = options.checkpoint
        tensors, kind = read_tensors(path)
        found = sort_tensors(tensors, source=str(path))
        collected.story.append(f"full checkpoint ({kind}: {found.describe()})")
        collected.files["checkpoint"] = path
        collected.parts = found.parts
        if found.lora:
            lora = found
            if (path.parent / _ADAPTER_CONFIG).is_file():
                scale = _scale(path.parent, base_in_checkpoint=bool(found.parts[DECODER]))
    if options.adapter is not None:
        found, path = _read_adapter(options.adapter)
        if lora is not None:
            problem = f"both {options.checkpoint} and {options.adapter} hold LoRA weights"
            raise CheckpointError(problem, hint="pass only one: the adapter would count twice")
        collected.story.append(f"adapter ({path.suffix[1:]}: {found.describe()})")
        collected.files["adapter_config"] = options.adapter / _ADAPTER_CONFIG
        collected.files["adapter"] = path
        scale = _scale(options.adapter, base_in_checkpoint=False)
        lora = found if found.lora else None
        for part, tensors in found.parts.items():
            collected.parts[part] |= tensors
    if options.lora_alpha is not None:
        scale = LoraScale(alpha=options.lora_alpha, rank_stabilised=scale.rank_stabilised)
    return lora, scale


def _read_adapter(folder: Path) -> tuple[SortedTensors, Path]:
    path = next((folder / name for name in _ADAPTER_FILES if (folder / name).is_file()), None)
    if path is None:
        problem = f"{folder} is no adapter folder: it has none of {', '.join(_ADAPTER_FILES)}"
        raise CheckpointError(problem, hint="pass the folder that PEFT's save_pretrained wrote")
    return sort_tensors(read_tensors(path)[0], source=str(path)), path


def _scale(folder: Path, *, base_in_checkpoint: bool) -> LoraScale:
    path = folder / _ADAPTER_CONFIG
    return scale_from_config(
        read_json(path), source=str(path), base_in_checkpoint=base_in_checkpoint
    )


def _strength(lora: SortedTensors, scale: LoraScale) -> str:
    ranks = sorted({pair["A"].shape[0] for pair in lora.lora.values()})
    alpha = "2 x rank, the reference's rule" if scale.alpha is None else f"{scale.alpha:g}"
    kind = ", rank-stabilised" if scale.rank_stabilised else ""
    return f"rank {'/'.join(map(str, ranks))}, alpha {alpha}{kind}"


def _collect_base(folder: Path, part: str, collected: _Collected) -> None:
    """Take a part's weights from its own folder where the checkpoint holds none of them.

    An adapter's tensors count as none: it holds what it trained, not the part.
    """
    name = "geneformer" if part == ENCODER else "llama"
    collected.files[f"{name}/config.json"] = folder / "config.json"
    trained = collected.parts[part]
    anchor = "bert.encoder.layer.0." if part == ENCODER else "model.layers.0."
    if any(key.startswith(anchor) for key in trained):
        return
    tensors, files = read_model_folder(folder)
    collected.parts[part] = tensors | trained
    collected.story.append(f"{part} from {folder.name} ({', '.join(file.name for file in files)})")
    collected.files |= {f"{name}/{file.name}": file for file in files}


def _build_model(
    options: CheckpointOptions, collected: _Collected, beside: dict[str, Any]
) -> Cell2TextModel:
    assert options.geneformer is not None
    assert options.llama is not None
    projector = collected.parts[PROJECTOR]
    if not projector:
        problem = "no projector: neither checkpoint nor adapter holds `cell_to_embedding.*`"
        raise CheckpointError(problem, hint="pass the full checkpoint, or an adapter that has it")
    heads = options.perceiver_heads or beside.get("perceiver_num_heads")
    config = projector_config_from_shapes(
        {name: tuple(tensor.shape) for name, tensor in projector.items()}, heads=heads
    )
    size = f"{config.heads} heads" if config.kind == "perceiver" else f"hidden {config.hidden}"
    collected.story.append(f"projector {config.kind}, {size}")
    emb_layer = beside.get("emb_layer", -1) if options.emb_layer is None else options.emb_layer
    top_k = beside.get("top_k") or 256 if options.top_k is None else options.top_k
    encoder_config = read_config(options.geneformer / "config.json", BertConfig)
    decoder_config = read_config(options.llama / "config.json", LlamaConfig)
    model = Cell2TextModel(
        build_geneformer(encoder_config, collected.parts[ENCODER]),
        build_projector_with(config, projector),
        build_llama(decoder_config, collected.parts[DECODER]),
        emb_layer=emb_layer,
        top_k=top_k,
    )
    model.eval()
    return model


def _reference_config(checkpoint: Path | None) -> dict[str, Any]:
    """The reference's own config.json, where its `save_pretrained` left one beside the weights."""
    if checkpoint is None:
        return {}
    path = checkpoint.with_name("config.json")
    config = read_json(path) if path.is_file() else {}
    if not {"projector", "decoder_hidden_size"} <= config.keys():
        return {}
    if config.get("emb_mode", "gene") != "gene":
        problem = f"{path}: emb_mode is {config['emb_mode']!r}"
        raise CheckpointError(problem, hint="only gene-level encoders (emb_mode gene) are known")
    return config


def _settings(
    options: CheckpointOptions, tokenizer: PreTrainedTokenizerBase, beside: dict[str, Any]
) -> CheckpointSettings:
    assert options.geneformer is not None
    assert options.llama is not None
    # The reference's defaults: 100 new tokens, no repeated trigrams, greedy.
    generation = Generation(
        max_new_tokens=beside.get("max_length", 100),
        no_repeat_ngram_size=beside.get("no_repeat_ngram_size", 3),
        eos_token_ids=_end_tokens(options.llama, tokenizer),
    )
    settings = CheckpointSettings(
        name=f"{options.geneformer.name}+{options.llama.name}",
        system_message="",  # the weights do not carry it: `render_prompt` asks for it
        generation=generation,
        licences=(_licence("encoder", options.geneformer), _licence("decoder", options.llama)),
    )
    return override_settings(settings, options)


def _end_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end tokens `generate` would use: generation_config.json, then config.json."""
    for name in ("generation_config.json", "config.json"):
        ends = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        if ends is not None:
            return tuple(ends) if isinstance(ends, list) else (int(ends),)
    if tokenizer.eos_token_id is None:
        problem = f"{folder} names no end token"
        raise CheckpointError(problem, hint="add eos_token_id to generation_config.json")
    return (int(tokenizer.eos_token_id),)


def _licence(part: str, folder: Path) -> Licence:
    """The licence that the folder's model card names."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.search(r"^license:\s*(\S+)\s*$", text, re.MULTILINE)
    licence = match[1] if match else "not stated in the folder"
    return Licence(part=part, licence=licence, notice=f"weights of {folder.name}")
