"""The demonstration's joint space as a CellWhisperer checkpoint, which `c2t export` reads.

One decision: only what was trained for the search is committed. The frozen encoder lies in the
demonstration of describing, and is put beside it when it is needed.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from c2t.examples.demo_search.cell_embeddings import CHECKPOINT as DESCRIBING
from c2t.export.checkpoint.folder import load_checkpoint_folder
from c2t.export.model.genes import EncoderVocabulary

HERE = Path(__file__).parent
TRAINED = HERE / "checkpoint"
TEXT_MODEL, WEIGHTS = "text_model", "joint.safetensors"
ENCODER_PREFIX = "model.transcriptome_model.geneformer_model."
NOTICE = "A demonstration trained on public data; never for conclusions about cells."


@dataclass(frozen=True, kw_only=True)
class AssembledCheckpoint:
    """The three paths that `c2t export --family cellwhisperer` takes."""

    geneformer: Path
    text_model: Path
    checkpoint: Path


def assemble(folder: Path, trained: Path = TRAINED) -> AssembledCheckpoint:
    """Write the checkpoint's three parts into an empty or new folder.

    Args:
        folder: Where they go.
        trained: What `c2t.examples.demo_search.train` saved.
    """
    made = AssembledCheckpoint(
        geneformer=folder / "geneformer",
        text_model=folder / TEXT_MODEL,
        checkpoint=folder / "c2t-demo-search.safetensors",
    )
    for part in (made.geneformer, made.text_model):
        part.mkdir(parents=True)
    encoder = DESCRIBING / "geneformer"
    shutil.copyfile(encoder / "config.json", made.geneformer / "config.json")
    genes = load_checkpoint_folder(DESCRIBING).genes
    for name, values in dictionaries(genes).items():
        _write_json(made.geneformer / f"{name}.json", values)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(trained / TEXT_MODEL / name, made.text_model / name)
    frozen = load_file(encoder / "model.safetensors")
    # The head that guesses masked genes is no part of what a cell becomes.
    kept = {
        f"{ENCODER_PREFIX}{name}": tensor
        for name, tensor in frozen.items()
        if name.startswith("bert.")
    }
    joint = {
        name: torch.as_tensor(tensor)
        for name, tensor in load_file(trained / WEIGHTS).items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(kept | joint, made.checkpoint)
    return made


def dictionaries(genes: EncoderVocabulary) -> dict[str, dict[str, Any]]:
    """A vocabulary as Geneformer's dictionaries, by the names of their files."""
    names = [name.decode() for name in genes.ensembl_id]
    tokens: dict[str, Any] = {"<pad>": genes.pad_token, "<mask>": genes.mask_token}
    tokens.update(zip(names, genes.token.tolist(), strict=True))
    aliases = [alias.decode() for alias in genes.alias]
    found = [names[gene] for gene in genes.alias_gene]
    return {
        "token_dictionary": tokens,
        "gene_median_dictionary": dict(zip(names, genes.median.tolist(), strict=True)),
        "gene_name_id_dict": dict(zip(aliases, found, strict=True)),
    }


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, separators=(",", ":")) + "\n", encoding="utf-8", newline="")
