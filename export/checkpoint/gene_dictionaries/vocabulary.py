"""The rules by which Geneformer's dictionaries become a vocabulary, and its file in a bundle.

One decision: the rules of the published tokenizers are applied here, once. Only their result is
stored, in arrays that need no pickle to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from c2t.export.model.genes import EncoderVocabulary
from c2t.runtime.bundle.gene_vocabulary import GENE_ARRAYS, GENES_BYTES_MAX
from c2t.runtime.system.checked_read import read_arrays
from c2t.runtime.system.errors import BundleError, CheckpointError

_HINT_DICTIONARIES = "pass the dictionaries that belong to this Geneformer checkpoint"


def build_gene_vocabulary(
    token_dictionary: Mapping[str, int],
    medians: Mapping[str, float],
    *,
    ensembl_mapping: Mapping[str, str] | None = None,
    gene_names: Mapping[str, str] | None = None,
) -> EncoderVocabulary:
    """Apply the rules of Geneformer's tokenizer to its dictionaries.

    Args:
        token_dictionary: Ensembl id or special token -> token.
        medians: Ensembl id -> non-zero median; ids without a token are ignored.
        ensembl_mapping: Any id or symbol -> current id. Targets without a token are ignored and
            keys are upper-cased, as the V2 tokenizer does; V1's is the identity.
        gene_names: Symbol -> id, case-sensitive; used where the mapping knows no such key.

    Raises:
        CheckpointError: Tokens or medians are unusable, or no gene has both.
    """
    specials = {name: token for name, token in token_dictionary.items() if name.startswith("<")}
    unknown = sorted(specials.keys() - {"<pad>", "<mask>", "<cls>", "<eos>"})
    lacking = sorted({"<pad>", "<mask>"} - specials.keys())
    if unknown or lacking or ("<cls>" in specials) != ("<eos>" in specials):
        problem = f"the token dictionary's special tokens are {sorted(specials)}"
        raise CheckpointError(
            problem, hint="expected <pad> and <mask>, and either both <cls> and <eos> or neither"
        )
    tokens = list(token_dictionary.values())
    if len(set(tokens)) != len(tokens) or min(tokens) < 0:
        problem = "the token dictionary gives a token twice, or a negative one"
        raise CheckpointError(problem, hint=_HINT_DICTIONARIES)
    if max(tokens) >= len(tokens):
        problem = f"the token dictionary has {len(tokens):,} tokens, and gives {max(tokens):,}"
        raise CheckpointError(problem, hint=_HINT_DICTIONARIES)
    genes = sorted(
        (token, name)
        for name, token in token_dictionary.items()
        if name in medians and name not in specials
    )
    if foreign := [name for _, name in genes if not name.isascii() or "\0" in name or not name]:
        problem = f"the token dictionary has a gene named {foreign[0]!r}"
        raise CheckpointError(problem, hint=_HINT_DICTIONARIES)
    if not genes:
        problem = "no gene of the token dictionary has a median"
        raise CheckpointError(problem, hint=_HINT_DICTIONARIES)
    median = np.array([medians[name] for _, name in genes], np.float64)
    if not (np.isfinite(median) & (median > 0)).all():
        bad = genes[int(np.argmin(np.isfinite(median) & (median > 0)))][1]
        problem = f"the median of {bad} is {medians[bad]}, not a positive number"
        raise CheckpointError(problem, hint=_HINT_DICTIONARIES)
    index = {name: position for position, (_, name) in enumerate(genes)}
    aliases = _collect_aliases(index, ensembl_mapping or {}, gene_names or {})
    return EncoderVocabulary(
        ensembl_id=np.array([name for _, name in genes], np.bytes_),
        token=np.array([token for token, _ in genes], np.int32),
        median=median,
        alias=np.array(list(aliases), np.bytes_) if aliases else np.zeros(0, "S1"),
        alias_gene=np.array(list(aliases.values()), np.int32),
        pad_token=specials["<pad>"],
        mask_token=specials["<mask>"],
        cls_token=specials.get("<cls>"),
        eos_token=specials.get("<eos>"),
    )


def _collect_aliases(
    index: Mapping[str, int], mapping: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, int]:
    """All names that are not the id of their own gene, with the gene's index, sorted."""
    upper = {key.upper(): target for key, target in mapping.items()}
    aliases = {
        key: index[target]
        for key, target in upper.items()
        if target in index and key != target and key.isascii()
    }
    for name, target in names.items():
        if target in index and name.upper() not in upper and name != target and name.isascii():
            aliases.setdefault(name, index[target])
    return dict(sorted(aliases.items()))


def write_genes_npz(genes: EncoderVocabulary, path: Path) -> None:
    """Write the arrays (not the special tokens) as `genes.npz`."""
    np.savez_compressed(path, **{name: getattr(genes, name) for name in GENE_ARRAYS})


def read_genes_npz(path: Path, special_tokens: Mapping[str, int | None]) -> EncoderVocabulary:
    """Read what `write_genes_npz` wrote.

    Args:
        path: The file.
        special_tokens: Tokens of "pad", "mask", "cls" and "eos", as the vocabulary gives them.

    Raises:
        CheckpointError: The file is missing, damaged or incomplete.
    """
    arrays = read_arrays(
        path,
        GENE_ARRAYS,
        bytes_max=GENES_BYTES_MAX,
        error=CheckpointError,
        hint="save the checkpoint again",
        what="a gene vocabulary",
    )
    pad, mask = special_tokens.get("pad"), special_tokens.get("mask")
    if pad is None or mask is None:
        problem = f"{path} belongs to a checkpoint without <pad> or <mask>"
        raise CheckpointError(problem, hint="save the checkpoint again")
    try:
        return EncoderVocabulary(
            **arrays,
            pad_token=pad,
            mask_token=mask,
            cls_token=special_tokens.get("cls"),
            eos_token=special_tokens.get("eos"),
        )
    except BundleError as error:
        problem = f"{path}: {error.problem}"
        raise CheckpointError(problem, hint="save the checkpoint again") from error
