"""The folder in which this package itself keeps a checkpoint: safetensors, JSON and npz, no pickle.

config.json            format, projector, emb_layer, top_k, messages, generation, licences
geneformer/            config.json, model.safetensors
projector.safetensors
llama/                 config.json, model.safetensors, the tokenizer's files
genes.npz              see `c2t.export.checkpoint.gene_vocabulary`
"""

import json
import stat
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, BertConfig, LlamaConfig, PreTrainedTokenizerBase

from c2t.export.checkpoint.assembly import (
    build_geneformer,
    build_llama,
    build_projector_with,
    read_config,
)
from c2t.export.checkpoint.files import read_json, read_model_folder, read_tensors
from c2t.export.checkpoint.gene_vocabulary import (
    GeneVocabularyArrays,
    read_genes_npz,
    special_tokens,
    write_genes_npz,
)
from c2t.export.checkpoint.options import (
    CheckpointOptions,
    CheckpointSettings,
    LoadedCheckpoint,
    override_settings,
)
from c2t.export.checkpoint.prompt import render_prompt
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import ProjectorConfig
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.files import atomic_folder

FORMAT = "c2t-checkpoint"
VERSION = 1
PHRASES = "phrases.txt"
_CONFIG = "config.json"


def save_checkpoint(
    folder: Path,
    *,
    model: Cell2TextModel,
    genes: GeneVocabularyArrays,
    tokenizer: PreTrainedTokenizerBase,
    settings: CheckpointSettings,
    phrases: Sequence[str] = (),
    half: bool = False,
    force: bool = False,
) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
        folder: Where; it must not exist, or be replaceable by `force`.
        model: The model; its tied tensors are stored once.
        genes: Its gene vocabulary.
        tokenizer: Its text tokenizer, with chat template.
        settings: Messages, generation defaults, licences.
        phrases: Captions of the training set, for drafts.
        half: Store float16, which is converted back to float32 on loading.
        force: Replace an existing checkpoint folder.

    Raises:
        CheckpointError: The prompt cannot be rendered from tokenizer and settings.
        OutputError: The place cannot be written.
    """
    render_prompt(tokenizer, settings)  # fail before anything is written
    with atomic_folder(folder, force=force, marker=_CONFIG) as place:
        for name, part in (("geneformer", model.encoder), ("llama", model.decoder)):
            (place / name).mkdir()
            part.config.to_json_file(place / name / _CONFIG, use_diff=False)
            _save_weights(part, place / name / "model.safetensors", half=half)
        _save_weights(model.projector, place / "projector.safetensors", half=half)
        tokenizer.save_pretrained(place / "llama")
        write_genes_npz(genes, place / "genes.npz")
        if phrases:
            (place / PHRASES).write_text("\n".join(phrases) + "\n", encoding="utf-8")
        config = {
            "format": FORMAT,
            "version": VERSION,
            "projector": model.projector.config.to_json(),
            "emb_layer": model.emb_layer,
            "top_k": model.top_k,
            "special_gene_tokens": special_tokens(genes),
            **asdict(settings),
        }
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (place / _CONFIG).write_text(text + "\n", encoding="utf-8")


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether `save_checkpoint` wrote this folder."""
    return (folder / _CONFIG).is_file() and read_json(folder / _CONFIG).get("format") == FORMAT


def load_checkpoint_folder(
    folder: Path, options: CheckpointOptions | None = None
) -> LoadedCheckpoint:
    """Load what `save_checkpoint` wrote.

    Args:
        folder: The folder.
        options: Settings to replace, like the date; the parts are the folder's own.

    Raises:
        CheckpointError: It is no such folder, of a newer version, or incomplete.
    """
    config = read_json(folder / _CONFIG)
    if config.get("format") != FORMAT:
        problem = f"{folder} is not a checkpoint folder of c2t"
        raise CheckpointError(problem, hint="pass --geneformer, --llama and --checkpoint instead")
    if config.get("version") != VERSION:
        problem = f"{folder} has version {config.get('version')}, this c2t reads {VERSION}"
        raise CheckpointError(problem, hint="install a newer c2t")
    try:
        projector = msgspec.convert(config.get("projector"), ProjectorConfig)
        stored = msgspec.convert(config, CheckpointSettings)
        shape = msgspec.convert(config, _Shape)
    except msgspec.ValidationError as error:
        problem = f"{folder / _CONFIG}: {error}"
        raise CheckpointError(problem, hint="save the checkpoint again") from error
    settings = override_settings(stored, options or CheckpointOptions())
    tokenizer, tokenizer_json = load_tokenizer(folder / "llama")
    prompt = render_prompt(tokenizer, settings)
    encoder, encoder_files = read_model_folder(folder / "geneformer")
    decoder, decoder_files = read_model_folder(folder / "llama")
    model = Cell2TextModel(
        build_geneformer(read_config(folder / "geneformer" / _CONFIG, BertConfig), encoder),
        build_projector_with(projector, read_tensors(folder / "projector.safetensors")[0]),
        build_llama(read_config(folder / "llama" / _CONFIG, LlamaConfig), decoder),
        emb_layer=shape.emb_layer,
        top_k=shape.top_k,
    )
    model.eval()
    files = (
        folder / _CONFIG,
        folder / "geneformer" / _CONFIG,
        *encoder_files,
        folder / "projector.safetensors",
        folder / "llama" / _CONFIG,
        *decoder_files,
        folder / "llama" / "tokenizer.json",
        folder / "genes.npz",
    )
    return LoadedCheckpoint(
        model=model,
        genes=read_genes_npz(folder / "genes.npz", shape.special_gene_tokens),
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        prompt=prompt,
        settings=settings,
        layout=f"c2t checkpoint folder, version {VERSION}",
        source_files={file.relative_to(folder).as_posix(): file for file in files},
    )


class _Shape(msgspec.Struct, frozen=True):
    """The rest of config.json."""

    emb_layer: int
    top_k: int
    special_gene_tokens: dict[str, int | None]


def load_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerBase, str]:
    """Load a fast tokenizer from local files.

    Returns:
        The tokenizer, and the content of its `tokenizer.json`.

    Raises:
        CheckpointError: The folder has no usable tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,  # else a folder that brings code makes transformers ask
            # Some versions ask every big vocabulary beside a new config whether it is Mistral's.
            fix_mistral_regex=False,
        )
    except Exception as error:  # the Rust library raises plain Exception for a damaged file
        first = str(error).partition("\n")[0]
        problem = f"no usable tokenizer in {folder}: {first}"
        raise CheckpointError(problem, hint="the folder needs tokenizer.json") from error
    if not tokenizer.is_fast:
        problem = f"the tokenizer in {folder} has no tokenizer.json"
        raise CheckpointError(problem, hint="save it with a current transformers")
    path = folder / "tokenizer.json"
    if path.is_file():
        return tokenizer, path.read_text(encoding="utf-8")
    return tokenizer, tokenizer.backend_tokenizer.to_str()


def _save_weights(model: nn.Module, path: Path, *, half: bool) -> None:
    """Store each tensor once, under the first of its names."""
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        tensors[name] = (tensor.to(torch.float16) if half else tensor).contiguous()
    path.touch()  # with the rights that new files have here
    rights = stat.S_IMODE(path.stat().st_mode)
    save_file(tensors, path, metadata={"format": "pt"})  # makes a file for its owner only
    path.chmod(rights)
