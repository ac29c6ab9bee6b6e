"""Checkpoints in parts: Geneformer and Llama folders beside a full state dict, an adapter, or both.

One decision: configs, tokenizer, prompt and gene dictionaries are read and checked first, within
seconds; only then are weights opened.
"""

from __future__ import annotations

from pathlib import Path

from c2t.export.checkpoint.configs import read_decoder_config, read_encoder_config
from c2t.export.checkpoint.gene_dictionaries.find import load_genes
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.settings import (
    EMB_LAYER,
    TOP_K,
    projector_facts,
    read_reference_config,
    settings_of_parts,
)
from c2t.export.checkpoint.tensors.assembly import build_part, build_projector_with
from c2t.export.checkpoint.tensors.collect import check_adapter, collect_tensors
from c2t.export.checkpoint.tensors.layout import DECODER, ENCODER, PROJECTOR
from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.checkpoint.text.tokenizer import load_tokenizer
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.model.loaded_checkpoint import (
    CaptionFiles,
    CheckpointOutline,
    LoadedParts,
    ProjectorCheck,
)
from c2t.export.projectors.families import projector_config_from_shapes, projector_family
from c2t.runtime.system.errors import CheckpointError


def outline_parts(options: CheckpointOptions) -> CheckpointOutline:
    """Read all of a checkpoint in parts but the weights.

    Raises:
        CheckpointError: A part is missing, unreadable, or of a family that cannot be exported.
    """
    geneformer, llama = _check_paths(options)
    check_adapter(options)
    reference = read_reference_config(options.checkpoint)
    encoder, decoder = read_encoder_config(geneformer), read_decoder_config(llama)
    held = options.checkpoint
    beside = held if held is None or held.is_dir() else held.parent
    trained = [folder for folder in (options.adapter, beside) if folder is not None]
    tokenizer, tokenizer_json = load_tokenizer(
        llama, trained=trained, chat_template=options.chat_template
    )
    settings = settings_of_parts(options, geneformer, llama, tokenizer)
    prompt = render_prompt(tokenizer, settings)
    genes, gene_files = load_genes(options, vocabulary_size=encoder.vocab_size)
    facts = projector_facts(options, reference)

    def read_weights(check: ProjectorCheck) -> LoadedParts:
        encoder_kind = encoder_family(encoder.model_type)
        decoder_kind = decoder_family(decoder.model_type)
        collected = collect_tensors(options, encoder_kind, decoder_kind)
        projector = projector_config_from_shapes(collected.projector_shapes(), facts)
        check(projector)
        merged = collected.merge_adapter(decoder_kind, decoder)
        size = projector_family(projector.kind).size(projector)
        return LoadedParts(
            encoder=build_part(encoder_kind, encoder, collected.parts[ENCODER], part="encoder"),
            projector=build_projector_with(projector, collected.parts[PROJECTOR]),
            decoder=build_part(decoder_kind, merged, collected.parts[DECODER], part="decoder"),
            layout="; ".join([*collected.story, f"projector {projector.kind}, {size}"]),
            source_files=collected.files | gene_files,
        )

    return CheckpointOutline(
        encoder=encoder,
        decoder=decoder,
        projector=None,
        genes=genes,
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        prompt=prompt,
        settings=settings,
        emb_layer=_stated(options.emb_layer, reference.emb_layer, default=EMB_LAYER),
        # A perceiver sees all rows: its training runs left 0 here.
        top_k=_stated(options.top_k, reference.top_k or None, default=TOP_K),
        captions=CaptionFiles(
            phrases=options.phrases, fields=options.fields, terms=tuple(options.ontology or ())
        ),
        read_weights=read_weights,
    )


def _check_paths(options: CheckpointOptions) -> tuple[Path, Path]:
    """The folders of encoder and decoder, when all that is named is there."""
    if options.geneformer is None or options.llama is None:
        problem = "both --geneformer and --llama are needed: they hold the configs and tokenizer"
        raise CheckpointError(problem, hint="pass the folders the model was trained from")
    if options.checkpoint is None and options.adapter is None:
        problem = "nothing trained was named: no --checkpoint and no --adapter"
        raise CheckpointError(problem, hint="the projector is in one of them")
    if options.checkpoint is not None and not options.checkpoint.exists():
        problem = f"no such file: {options.checkpoint}"
        raise CheckpointError(problem, hint="check the path")
    return options.geneformer, options.llama


def _stated(*values: int | None, default: int) -> int:
    """The first value that is stated."""
    return next((value for value in values if value is not None), default)
