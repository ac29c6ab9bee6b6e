"""CellWhisperer's chat before its weights are read: a joint space, a projector and a Mistral.

One decision: a cell comes to the chat from the joint space, so Geneformer and the block behind it
are those of the joint checkpoint, read as for a search; the chat's folder holds the rest.

Source: Schaefer et al., Nat. Biotechnol. 2025 (CellWhisperer): LLaVA's `mm_projector` of the type
`mlp2x_8t_gelu`, Mistral-7B-Instruct-v0.2, greedy texts of at most 256 tokens.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from c2t.export.cellwhisperer.chat_config import ChatConfig, read_chat_config
from c2t.export.cellwhisperer.chat_prompt import read_chat_prompt
from c2t.export.cellwhisperer.outline import FAMILY, JointOutline, outline_joint
from c2t.export.checkpoint.configs import CONFIG
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.settings import licence_of, override_settings
from c2t.export.checkpoint.tensors.assembly import build_part, build_projector_with
from c2t.export.checkpoint.tensors.files import read_model_folder
from c2t.export.checkpoint.text.generation import read_generation
from c2t.export.checkpoint.text.tokenizer import load_tokenizer
from c2t.export.decoders.families import decoder_family
from c2t.export.model.loaded_checkpoint import (
    CaptionFiles,
    CheckpointOutline,
    CheckpointSettings,
    LoadedParts,
    ProjectorCheck,
)
from c2t.export.model.projector import ProjectorConfig
from c2t.runtime.system.errors import CheckpointError

GENERATION = {"max_new_tokens": 256, "no_repeat_ngram_size": 0}  # as published; greedy
MM_PROJECTOR = "model.mm_projector."
SERVER_PENALTY = 1.2  # what the published server writes with


def outline_chat(options: CheckpointOptions) -> tuple[CheckpointOutline, tuple[str, ...]]:
    """Read all of a chat's checkpoint but the weights, within seconds.

    Returns:
        The checkpoint without weights; what was chosen where nothing was asked for, a sentence
        each.

    Raises:
        CheckpointError: An option, a config, the tokenizer or the prompt cannot be used.
    """
    folder = options.chat
    assert folder is not None
    if not (folder / CONFIG).is_file():
        problem = f"{folder} is no chat's folder: it has no {CONFIG}"
        raise CheckpointError(problem, hint="pass the folder with config.json, weights, tokenizer")
    joint = outline_joint(options)
    config = read_chat_config(folder)
    tokenizer, tokenizer_json = load_tokenizer(folder)
    # Beside the joint checkpoint lies nothing about texts.
    alone = replace(options, checkpoint=None)
    generation = read_generation(alone, folder, tokenizer, usual=GENERATION)
    positions = decoder_family(config.decoder.model_type).max_positions(config.decoder)
    prompt = read_chat_prompt(
        options.template, tokenizer, tokenizer_json, room=positions - generation.max_new_tokens
    )
    settings = CheckpointSettings(
        name=folder.resolve().name,
        system_message="",
        user_message=prompt.question,
        generation=generation,
        licences=(joint.licences[0], licence_of("projector and decoder", folder)),
        notes=f"a cell is the {joint.pooling} of its rows, emb_layer {joint.emb_layer}; a group "
        "is the mean of its cells' places in the joint space",
    )

    def read_weights(check: ProjectorCheck) -> LoadedParts:
        return _read_weights(joint, config, folder, options.leave_out or [], check)

    said = list(joint.said)
    if options.repetition_penalty is None and settings.generation.repetition_penalty == 1:
        said.append(
            f"texts are greedy; the published server's have --repetition-penalty {SERVER_PENALTY}, "
            "which can be given here, or when a question is asked"
        )
    if not prompt.question:
        said.append("the template states no usual question: the bundle answers, but describes not")
    outline = CheckpointOutline(
        encoder=joint.encoder,
        decoder=config.decoder,
        projector=None,
        genes=joint.genes,
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        prompt=prompt.usual,
        settings=override_settings(settings, options),
        emb_layer=joint.emb_layer,
        top_k=1,
        captions=CaptionFiles(
            phrases=options.phrases, fields=options.fields, terms=tuple(options.ontology or ())
        ),
        template=prompt.template,
        family=FAMILY,
        decoder_option="--chat",
        read_weights=read_weights,
    )
    return outline, tuple(said)


def _read_weights(
    joint: JointOutline,
    config: ChatConfig,
    folder: Path,
    leave_out: list[str],
    check: ProjectorCheck,
) -> LoadedParts:
    """Encoder and block of the joint checkpoint, projector and decoder of the chat's folder."""
    stored = read_model_folder(folder)
    begins = tuple(leave_out)
    kept = {n: t for n, t in stored.tensors.items() if not (begins and n.startswith(begins))}
    projecting = _projector_tensors(kept, folder)
    loaded = joint.load()
    block, size = loaded.model.projector, loaded.model.projector.config.output_width
    if size != config.space:
        problem = f"the chat reads {config.space} numbers of a cell (mm_hidden_size), "
        problem += f"the joint space has {size}"
        raise CheckpointError(
            problem, hint="pass the joint checkpoint that the chat was trained on"
        )
    projector = ProjectorConfig(
        kind="mlp2x_8t",
        input_width=block.config.input_width,
        hidden=size,
        output_width=int(config.decoder.hidden_size),
        pooling=block.config.pooling,
        special_tokens=block.config.special_tokens,
    )
    check(projector)
    named = {f"joint.{name}": tensor for name, tensor in block.state_dict().items()}
    family = decoder_family(config.decoder.model_type)
    own = {name: t for name, t in kept.items() if not name.startswith(MM_PROJECTOR)}
    decoder = family.named_as_in_module(own)
    files = {f"chat/{path.name}": path for path in [folder / CONFIG, *stored.files]}
    return LoadedParts(
        encoder=loaded.model.encoder,
        projector=build_projector_with(projector, named | projecting),
        decoder=build_part(family, config.decoder, decoder, part="decoder"),
        layout=f"{loaded.layout}; chat ({stored.kind}): {family.name} behind `{MM_PROJECTOR}`",
        source_files=loaded.source_files | files,
    )


def _projector_tensors(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The projector's tensors by their names in it.

    Raises:
        CheckpointError: The folder has none of them, or not all.
    """
    needed = [f"{layer}.{leaf}" for layer in (0, 2) for leaf in ("weight", "bias")]
    found = {
        name.removeprefix(MM_PROJECTOR): tensor
        for name, tensor in tensors.items()
        if name.startswith(MM_PROJECTOR)
    }
    lacking = [f"{MM_PROJECTOR}{name}" for name in needed if name not in found]
    if lacking:
        problem = f"{folder} has no {', '.join(lacking)}"
        hint = "pass the folder of the whole chat, not of the Mistral that it began with"
        raise CheckpointError(problem, hint=hint)
    return {f"mm_projector.{name}": tensor for name, tensor in found.items()}
