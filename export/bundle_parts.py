"""The files of a bundle, and the manifest that describes them."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer

import c2t
from c2t.export.checkpoint.gene_vocabulary import write_genes_npz
from c2t.export.checkpoint.options import LoadedCheckpoint
from c2t.export.decoders.llama import cached_positions, head_size_of, write_decoder_graph
from c2t.export.encoders.geneformer import EncoderGraph, write_encoder_graph
from c2t.export.graphs.graph_builder import OPSET
from c2t.export.graphs.projector_graph import write_projector_graph
from c2t.export.phrases import write_phrases
from c2t.export.token_sequences import gene_input
from c2t.runtime.bundle.hashes import file_entries, sha256_of
from c2t.runtime.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Decoder,
    Encoder,
    Manifest,
    Origin,
    Projector,
    TensorReference,
)


def write_graphs(loaded: LoadedCheckpoint, folder: Path) -> tuple[EncoderGraph, TensorReference]:
    """Write the three graphs with their data files.

    Returns:
        What the encoder graph holds, and where the text token table lies.
    """
    model = loaded.model
    encoder = write_encoder_graph(
        model.encoder, folder / "encoder.onnx", emb_layer=model.emb_layer, rows=model.rows
    )
    write_projector_graph(model.projector, folder / "projector.onnx")
    return encoder, write_decoder_graph(model.decoder, folder / "decoder.onnx")


def write_tables(loaded: LoadedCheckpoint, folder: Path) -> None:
    """Write the gene-embedding tables, the gene vocabulary, the text tokenizer and the phrases."""
    embeddings = loaded.model.encoder.bert.embeddings
    tables: dict[str, torch.Tensor] = {
        "word": embeddings.word_embeddings.weight,
        "position": embeddings.position_embeddings.weight,
        # Geneformer's sequences have one segment: every gene takes row 0.
        "token_type": embeddings.token_type_embeddings.weight[0],
        "gamma": embeddings.LayerNorm.weight,
        "beta": embeddings.LayerNorm.bias,
    }
    contiguous = {name: table.detach().contiguous() for name, table in tables.items()}
    # Not `save_file`: it makes files that only their owner can read.
    (folder / "gene_embedding.safetensors").write_bytes(save(contiguous))
    write_genes_npz(loaded.genes, folder / "genes.npz")
    (folder / "tokenizer.json").write_text(loaded.tokenizer_json, encoding="utf-8")
    if loaded.phrases is not None:
        write_phrases(
            loaded.phrases, folder, Tokenizer.from_str(loaded.tokenizer_json), _end_token(loaded)
        )


def _end_token(loaded: LoadedCheckpoint) -> int | None:
    """What most likely ends a caption: the tokenizer's own end token, if generation stops there."""
    ends = loaded.generation.eos_token_ids
    own = loaded.tokenizer.eos_token_id
    return own if own in ends else next(iter(ends), None)


def make_manifest(
    loaded: LoadedCheckpoint, folder: Path, graph: EncoderGraph, token_embedding: TensorReference
) -> Manifest:
    """The manifest of the files that now lie in `folder`."""
    model, settings = loaded.model, loaded.settings
    bert, llama, projector = model.encoder.config, model.decoder.config, model.projector.config
    names = [entry.name for entry in os.scandir(folder) if entry.name != MANIFEST_NAME]
    return Manifest(
        format_version=FORMAT_VERSION,
        name=settings.name,
        precision="fp32",
        opset=OPSET,
        gene_input=gene_input(loaded),
        encoder=Encoder(
            model=f"BERT, {bert.num_hidden_layers} layers, width {bert.hidden_size}",
            layers=int(bert.num_hidden_layers),
            layers_run=graph.layers_run,
            heads=int(bert.num_attention_heads),
            rows=graph.rows,
        ),
        projector=Projector(
            kind=projector.kind,
            vectors=model.top_k if projector.kind == "mlp" else projector.num_latents,
        ),
        decoder=Decoder(
            model=f"Llama, {llama.num_hidden_layers} layers, width {llama.hidden_size}",
            layers=int(llama.num_hidden_layers),
            hidden_size=int(llama.hidden_size),
            heads=int(llama.num_attention_heads),
            kv_heads=int(llama.num_key_value_heads),
            head_size=head_size_of(llama),
            vocabulary_size=int(llama.vocab_size),
            max_positions=cached_positions(llama),
            token_embedding=token_embedding,
        ),
        prompt=loaded.prompt,
        generation=loaded.generation,
        origin=Origin(
            c2t_version=c2t.__version__,
            layout=loaded.layout,
            created=_now(),
            files={name: sha256_of(path) for name, path in sorted(loaded.source_files.items())},
            random_weights=loaded.random_weights,
            notes=settings.notes,
        ),
        licences=loaded.licences,
        files=file_entries(folder, names),
    )


def _now() -> str:
    """UTC, or the moment that SOURCE_DATE_EPOCH names: an export can be repeated exactly."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = (
        datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
        if epoch
        else datetime.datetime.now(datetime.UTC)
    )
    return moment.isoformat(timespec="seconds")
