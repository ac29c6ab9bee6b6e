"""Finding and reading the gene dictionaries that belong to a Geneformer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2t.export.checkpoint.configs import read_json
from c2t.export.checkpoint.gene_dictionaries.pickled_dictionary import (
    INTEGERS,
    Value,
    read_pickled_dictionary,
)
from c2t.export.checkpoint.gene_dictionaries.vocabulary import build_gene_vocabulary
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.model.genes import EncoderVocabulary
from c2t.runtime.system.errors import CheckpointError

# Published names start so; they are looked for beside the weights when no path is given.
_NAMES = {
    "token_dictionary": "token_dictionary*",
    "gene_medians": "gene_median_dictionary*",
    "ensembl_mapping": "ensembl_mapping_dict*",
    "gene_names": "gene_name_id_dict*",
}
_REQUIRED = ("token_dictionary", "gene_medians")


def load_genes(
    options: CheckpointOptions, *, vocabulary_size: int
) -> tuple[EncoderVocabulary, dict[str, Path]]:
    """Read the dictionaries, pickled or JSON, and apply the tokenizer's rules.

    Args:
        options: Their paths, or the Geneformer folder that holds them.
        vocabulary_size: Rows of the encoder's gene table, which must equal the dictionary's size.

    Returns:
        The vocabulary, and the files that were read by their roles.

    Raises:
        CheckpointError: One is missing, unusable, or of another Geneformer.
    """
    paths = {role: _find(options, role) for role in _NAMES}
    lacking = [role for role in _REQUIRED if paths[role] is None]
    if lacking:
        problem = "no dictionary given, and none found beside Geneformer: " + ", ".join(lacking)
        hint = "pass --token-dictionary and --gene-medians; see `c2t help export`"
        raise CheckpointError(problem, hint=hint)
    files = {role: path for role, path in paths.items() if path is not None}
    stored = {role: _read(path) for role, path in files.items()}
    tokens = _typed(stored["token_dictionary"], int, files["token_dictionary"])
    if len(tokens) != vocabulary_size:
        problem = (
            f"{files['token_dictionary']} has {len(tokens):,} tokens, "
            f"the encoder's gene table {vocabulary_size:,} rows"
        )
        raise CheckpointError(problem, hint="pass the token dictionary of this Geneformer (V1, V2)")
    genes = build_gene_vocabulary(
        tokens,
        {
            name: float(median)
            for name, median in _typed(
                stored["gene_medians"], (int, float), files["gene_medians"]
            ).items()
        },
        ensembl_mapping=_optional(stored, files, "ensembl_mapping"),
        gene_names=_optional(stored, files, "gene_names"),
    )
    return genes, files


def _find(options: CheckpointOptions, role: str) -> Path | None:
    given: Path | None = getattr(options, role)
    if given is not None or options.geneformer is None:
        return given
    beside = [
        path
        for path in sorted(options.geneformer.glob(_NAMES[role]))
        if path.suffix in (".pkl", ".json")
    ]
    if len(beside) > 1:
        names = ", ".join(path.name for path in beside)
        problem = f"{options.geneformer} holds several dictionaries: {names}"
        raise CheckpointError(problem, hint=f"choose one: --{role.replace('_', '-')} FILE")
    return beside[0] if beside else None


def _read(path: Path) -> Mapping[str, Value]:
    return read_json(path) if path.suffix == ".json" else read_pickled_dictionary(path)


def _optional(
    stored: Mapping[str, Mapping[str, Value]], files: Mapping[str, Path], role: str
) -> dict[str, str] | None:
    return _typed(stored[role], str, files[role]) if role in stored else None


def _typed(
    dictionary: Mapping[str, Value], kind: type | tuple[type, ...], path: Path
) -> dict[str, Any]:
    for name, value in dictionary.items():
        number = isinstance(value, int) and value not in INTEGERS
        if not isinstance(value, kind) or isinstance(value, bool) or number:
            shown = "a number of more than 64 bits" if number else f"the value {value!r:.60}"
            problem = f"{path}: {name!r:.60} has {shown}"
            raise CheckpointError(problem, hint="check that it is the dictionary it is passed as")
    return dict(dictionary)
