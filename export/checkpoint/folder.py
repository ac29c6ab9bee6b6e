"""The folder in which this package itself keeps a checkpoint: safetensors, JSON and npz, no pickle.

config.json            format, projector, emb_layer, top_k, messages, generation, licences
geneformer/            config.json, model.safetensors of the encoder, whatever its family
projector.safetensors
llama/                 config.json, model.safetensors of the decoder, and its tokenizer's files
unsure.json            if there: a rule for unsure cells, see `c2t.runtime.bundle.unsure_rule`
genes.npz              see `c2t.export.checkpoint.gene_dictionaries.vocabulary`
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from c2t.export.checkpoint.configs import (
    CONFIG,
    read_decoder_config,
    read_encoder_config,
    read_json,
)
from c2t.export.checkpoint.gene_dictionaries.vocabulary import read_genes_npz, write_genes_npz
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.settings import override_settings
from c2t.export.checkpoint.tensors.assembly import build_part, build_projector_with
from c2t.export.checkpoint.tensors.files import read_model_folder, read_tensors
from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.checkpoint.text.tokenizer import load_tokenizer
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.loaded_checkpoint import (
    FIELDS,
    PHRASES,
    TERMS,
    CaptionFiles,
    CheckpointOutline,
    CheckpointSettings,
    LoadedCheckpoint,
    LoadedParts,
    ProjectorCheck,
)
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import projector_family
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.files import atomic_folder

FORMAT = "c2t-checkpoint"
VERSION = 1
ENCODER, PROJECTOR, DECODER = "geneformer", "projector.safetensors", "llama"
WEIGHTS, GENES = "model.safetensors", "genes.npz"


def save_checkpoint(
    folder: Path,
    *,
    model: Cell2TextModel,
    genes: EncoderVocabulary,
    tokenizer: PreTrainedTokenizerBase,
    settings: CheckpointSettings,
    phrases: Sequence[str] = (),
    terms: Mapping[str, Mapping[str, str]] | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
        folder: It must not exist, or `force` must allow to replace it.
        model: Its tied tensors are stored once.
        genes: Genes and special gene tokens of its encoder.
        tokenizer: The text tokenizer of its decoder, with a chat template.
        settings: Messages, generation defaults, licences.
        phrases: Captions of the training set, for drafts.
        terms: Ids of names that captions use, by field: {"cell_type": {"B cell": "CL:0000236"}}.
        half: Store float16, which is converted back to float32 on loading.
        force: Replace an existing checkpoint folder.

    Raises:
        CheckpointError: The prompt cannot be rendered from tokenizer and settings.
        OutputError: The place cannot be written.
    """
    render_prompt(tokenizer, settings)  # fail before anything is written
    with atomic_folder(folder, force=force, marker=CONFIG) as place:
        for name, part in ((ENCODER, model.encoder), (DECODER, model.decoder)):
            (place / name).mkdir()
            part.config.to_json_file(place / name / CONFIG, use_diff=False)
            _save_weights(part, place / name / WEIGHTS, half=half)
        _save_weights(model.projector, place / PROJECTOR, half=half)
        tokenizer.save_pretrained(place / DECODER)
        write_genes_npz(genes, place / GENES)
        if phrases:
            (place / PHRASES).write_text("\n".join(phrases) + "\n", encoding="utf-8", newline="")
        if terms:
            text = json.dumps(terms, indent=2, ensure_ascii=False)
            (place / TERMS).write_text(text + "\n", encoding="utf-8", newline="")
        config = {
            "format": FORMAT,
            "version": VERSION,
            "projector": model.projector.config.to_json(),
            "emb_layer": model.emb_layer,
            "top_k": model.top_k,
            "special_gene_tokens": genes.special_tokens(),
            **asdict(settings),
        }
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (place / CONFIG).write_text(text + "\n", encoding="utf-8", newline="")


def outline_folder(folder: Path, options: CheckpointOptions | None = None) -> CheckpointOutline:
    """Read all that `save_checkpoint` wrote but the weights.

    Args:
        folder: What `save_checkpoint` wrote.
        options: Settings to replace, like the date; the parts are the folder's own.

    Raises:
        CheckpointError: It is no such folder, of a newer version, incomplete, or of a family that
            cannot be exported.
    """
    options = options or CheckpointOptions()
    stored, projector, shape = _read_config(folder)
    settings = override_settings(stored, options)
    encoder = read_encoder_config(folder / ENCODER)
    decoder = read_decoder_config(folder / DECODER)
    tokenizer, tokenizer_json = load_tokenizer(
        folder / DECODER, chat_template=options.chat_template
    )

    def read_weights(check: ProjectorCheck) -> LoadedParts:
        check(projector)
        return _read_weights(folder, encoder, projector, decoder)

    return CheckpointOutline(
        encoder=encoder,
        decoder=decoder,
        projector=projector,
        genes=read_genes_npz(folder / GENES, shape.special_gene_tokens),
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        prompt=render_prompt(tokenizer, settings),
        settings=settings,
        emb_layer=shape.emb_layer,
        top_k=shape.top_k,
        captions=_caption_files(folder, options),
        read_weights=read_weights,
    )


def _caption_files(folder: Path, options: CheckpointOptions) -> CaptionFiles:
    """The folder's own files about captions, but for those that the options name."""

    def own(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    terms = own(TERMS)
    return CaptionFiles(
        phrases=options.phrases or own(PHRASES),
        fields=options.fields or own(FIELDS),
        terms=(*([terms] if terms else []), *(options.ontology or ())),
        unsure=own(UNSURE_NAME),
    )


def _read_weights(
    folder: Path, encoder: PretrainedConfig, projector: ProjectorConfig, decoder: PretrainedConfig
) -> LoadedParts:
    encoder_stored = read_model_folder(folder / ENCODER)
    decoder_stored = read_model_folder(folder / DECODER)
    projector_tensors = read_tensors(folder / PROJECTOR).tensors
    encoder_kind = encoder_family(encoder.model_type)
    decoder_kind = decoder_family(decoder.model_type)
    files = (
        folder / CONFIG,
        folder / ENCODER / CONFIG,
        *encoder_stored.files,
        folder / PROJECTOR,
        folder / DECODER / CONFIG,
        *decoder_stored.files,
        folder / DECODER / "tokenizer.json",
        folder / GENES,
    )
    return LoadedParts(
        encoder=build_part(encoder_kind, encoder, encoder_stored.tensors, part="encoder"),
        projector=build_projector_with(projector, projector_tensors),
        decoder=build_part(decoder_kind, decoder, decoder_stored.tensors, part="decoder"),
        layout=f"c2t checkpoint folder, version {VERSION}",
        source_files={file.relative_to(folder).as_posix(): file for file in files},
    )


def load_checkpoint_folder(
    folder: Path, options: CheckpointOptions | None = None
) -> LoadedCheckpoint:
    """Load what `save_checkpoint` wrote; raises like `outline_folder`, and for its weights."""
    return outline_folder(folder, options).load()


class _Shape(msgspec.Struct, frozen=True):
    """The rest of config.json."""

    emb_layer: int
    top_k: int
    special_gene_tokens: dict[str, int | None]


def _read_config(folder: Path) -> tuple[CheckpointSettings, ProjectorConfig, _Shape]:
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        problem = f"{folder} is not a checkpoint folder of c2t"
        raise CheckpointError(problem, hint="pass --geneformer, --llama and --checkpoint instead")
    if config.get("version") != VERSION:
        problem = f"{folder} has version {config.get('version')}, this c2t reads {VERSION}"
        raise CheckpointError(problem, hint="install a newer c2t")
    try:
        settings = msgspec.convert(config, CheckpointSettings)
        projector = msgspec.convert(config.get("projector"), ProjectorConfig)
        shape = msgspec.convert(config, _Shape)
    except msgspec.ValidationError as error:
        problem = f"{folder / CONFIG}: {error}"
        raise CheckpointError(problem, hint="save the checkpoint again") from error
    projector_family(projector.kind).check_config(projector)
    return settings, projector, shape


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
