"""A CellWhisperer checkpoint becomes the files of a bundle with a joint space.

One decision: as for other families, all that can be refused is refused before a weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save

import c2t
from c2t.export.bundle_parts import check_space, creation_time, write_parity
from c2t.export.cellwhisperer.outline import FAMILY, JointOutline, LoadedJoint, outline_joint
from c2t.export.cellwhisperer.parity import check_joint_parity
from c2t.export.cellwhisperer.text_tokenizer import TEXTS
from c2t.export.checkpoint.check import FLOAT32_BYTES, check_weights
from c2t.export.checkpoint.gene_dictionaries.vocabulary import write_genes_npz
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.tensors.assembly import build_empty, count_parameters
from c2t.export.encoders.bert_text import BERT_TEXT, write_text_graph
from c2t.export.encoders.families import encoder_family
from c2t.export.graphs.graph_builder import OPSET
from c2t.export.model.family import EncoderGraph
from c2t.export.projectors.families import write_projector_graph
from c2t.export.token_sequences import gene_sequences
from c2t.runtime.bundle.hashes import file_entries, sha256_of
from c2t.runtime.bundle.joint_space import JointSpace, TextTower
from c2t.runtime.bundle.manifest import (
    FORMAT_VERSION,
    GENES_NAME,
    TEXT_GRAPH,
    Manifest,
    Origin,
    Projector,
)
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.tasks import ANNOTATE, EMBED, SEARCH
from c2t.runtime.cells.genes.organism import bundle_species
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.joint.golden import (
    GOLDEN_VECTORS,
    GoldenCellVector,
    GoldenTextVector,
    GoldenVectors,
)
from c2t.runtime.joint.text_tower import TEXT_TOKENIZER
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.progress import progress_bar

GOLDEN = 4  # cells and texts whose vectors are kept
Report = Callable[[str], None]  # called with a few words when a part of the work begins


def export_joint(
    folder: Path,
    options: CheckpointOptions,
    *,
    cells: Path | None = None,
    report: Report = lambda _: None,
) -> None:
    """Write the files of a bundle with a joint space, and compare its graphs with PyTorch.

    Args:
        folder: An empty folder.
        options: Where the parts of the checkpoint are.
        cells: Real cells for the comparison.
        report: Called with a few words when a part of the work begins.

    Raises:
        CheckpointError: The checkpoint cannot be used; the message lists what is wrong with it.
        CellFileError: `cells` cannot be read.
        ParityError: The graphs differ from the PyTorch model.
        OutputError: The disk has too little room.
    """
    creation_time()
    load_onnxruntime()  # the check against PyTorch runs with it
    outline = outline_joint(options)
    spec = encoder_family(outline.encoder.model_type).gene_input(outline.encoder, outline.genes)
    sequences, source = gene_sequences(outline.genes, spec, cells)
    check_space(folder, _float32_bytes(outline))
    for sentence in outline.said:
        report(sentence)
    loaded = outline.load()
    report(f"recognised {loaded.layout}")
    check_weights(loaded.model)
    report("writing the graphs")
    encoder = _write_graphs(loaded, folder)
    _write_tables(loaded, folder)
    report("checking the graphs against PyTorch")
    write_parity(folder, source, check_joint_parity(loaded, folder, sequences))
    (folder / GOLDEN_VECTORS).write_bytes(json_bytes(_golden_vectors(loaded, sequences)))
    report("hashing the files")
    write_manifest(folder, _manifest(loaded, folder, encoder))


def _float32_bytes(outline: JointOutline) -> int:
    """Bytes of both towers in float32: about what a bundle takes on disk."""
    family = encoder_family(outline.encoder.model_type)
    towers = (build_empty(family, outline.encoder), build_empty(BERT_TEXT, outline.text))
    return FLOAT32_BYTES * sum(map(count_parameters, towers))


def _write_graphs(loaded: LoadedJoint, folder: Path) -> EncoderGraph:
    """Write the three graphs with their data files."""
    model = loaded.model
    size = FLOAT32_BYTES * count_parameters(model)
    with progress_bar("writing", size, unit="bytes") as advance:
        encoder = encoder_family(model.encoder.config.model_type).write_graph(
            model.encoder,
            folder / "encoder.onnx",
            emb_layer=model.emb_layer,
            rows=model.rows,
            advance=advance,
        )
        write_projector_graph(model.projector, folder / "projector.onnx", advance=advance)
        write_text_graph(model.text, folder / TEXT_GRAPH, advance=advance)
    return encoder


def _write_tables(loaded: LoadedJoint, folder: Path) -> None:
    """Write what lies beside the graphs: tables of genes, and the tokenizer of texts."""
    encoder = loaded.model.encoder
    tables = encoder_family(encoder.config.model_type).embedding_tables(encoder)
    contiguous = {name: table.detach().contiguous() for name, table in tables.items()}
    # Not `save_file`: it makes files that only their owner can read.
    (folder / "gene_embedding.safetensors").write_bytes(save(contiguous))
    write_genes_npz(loaded.outline.genes, folder / GENES_NAME)
    text = loaded.outline.tokenizer.json
    (folder / TEXT_TOKENIZER).write_text(text, encoding="utf-8", newline="")


@torch.inference_mode()
def _golden_vectors(loaded: LoadedJoint, sequences: Sequence[Sequence[int]]) -> GoldenVectors:
    """PyTorch's vectors of some cells and texts."""
    model, outline = loaded.model, loaded.outline
    tokenizer, most = outline.tokenizer, outline.text_tokens - 2
    cells, texts = [], []
    for sequence in sequences[:GOLDEN]:
        vector = model.embed_cells(torch.tensor([list(sequence)]))[0].tolist()
        cells.append(GoldenCellVector(gene_tokens=tuple(sequence), vector=tuple(vector)))
    for text in TEXTS[:GOLDEN]:
        pieces = tokenizer.pieces.encode(text)[:most]
        ids = torch.tensor([[tokenizer.cls_token, *pieces, tokenizer.sep_token]])
        vector = model.embed_texts(ids)[0].tolist()
        texts.append(GoldenTextVector(text=text, vector=tuple(vector)))
    return GoldenVectors(cells=tuple(cells), texts=tuple(texts))


def _manifest(loaded: LoadedJoint, folder: Path, graph: EncoderGraph) -> Manifest:
    """The manifest of the files that now lie in `folder`."""
    model, outline = loaded.model, loaded.outline
    encoder = encoder_family(model.encoder.config.model_type)
    text, size = outline.text, model.projector.config.output_width
    tower = TextTower(
        model=f"BERT, {text.num_hidden_layers} layers, width {text.hidden_size}",
        input_size=outline.text_tokens,
        vocabulary_size=int(text.vocab_size),
        hidden_size=int(text.hidden_size),
        cls_token=outline.tokenizer.cls_token,
        sep_token=outline.tokenizer.sep_token,
        files=(TEXT_TOKENIZER, GOLDEN_VECTORS),
    )
    species = bundle_species(outline.genes)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=outline.name,
        precision="fp32",
        opset=OPSET,
        gene_input_part=encoder.gene_input(model.encoder.config, outline.genes),
        encoder_part=encoder.manifest_entry(model.encoder.config, graph),
        projector_part=Projector(kind=model.projector.config.kind, vectors=1),
        origin=Origin(
            c2t_version=c2t.__version__,
            layout=loaded.layout,
            created=creation_time(),
            files={name: sha256_of(path) for name, path in sorted(loaded.source_files.items())},
            notes=f"a cell is the {outline.pooling} of its rows, emb_layer {outline.emb_layer}",
        ),
        licences=outline.licences,
        files=file_entries(folder, [path.name for path in folder.iterdir()]),
        species="unknown" if species is None else species.name,
        family=FAMILY,
        tasks=(EMBED, SEARCH, ANNOTATE),
        joint_space=JointSpace(size=size, temperature=model.temperature, text=tower),
    )
