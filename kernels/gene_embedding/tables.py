"""The tables of the gene embedding, kept in the type that they are stored in."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.errors import KernelError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TABLE_DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8))
BERT_EPSILON = 1e-12
# By their names in files of safetensors.
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype(np.int8),
}


@dataclass(frozen=True, kw_only=True)
class GeneEmbeddingTables:
    """Tables of LayerNorm(word[token] + position[rank] + token_type) * gamma + beta.

    Args:
        word: [V, H] float32, float16 or int8; a row for each gene token.
        position: [P, H] of the same dtype; a row for each rank.
        token_type: [H] float32, the row of BERT's token type 0, or None.
        gamma: [H] float32.
        beta: [H] float32.
        epsilon: Added to the variance.
        word_scale: [V] float32 of int8 tables, else None: a row is word[v] * word_scale[v].
        position_scale: [P] float32 of int8 tables, else None.

    Raises:
        KernelError: Shapes or dtypes do not fit each other.
    """

    word: NDArray[Any]
    position: NDArray[Any]
    token_type: NDArray[np.float32] | None
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float = BERT_EPSILON
    word_scale: NDArray[np.float32] | None = None
    position_scale: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name in ("word", "position"):
            table = getattr(self, name)
            if table.ndim != 2:
                problem = f"gene embedding table `{name}` has shape {table.shape}, expected rows"
                raise KernelError(problem, hint="export the bundle again")
            if table.dtype not in TABLE_DTYPES or table.dtype != self.word.dtype:
                problem = (
                    f"gene embedding table `{name}` is {table.dtype}, `word` {self.word.dtype}"
                )
                raise KernelError(problem, hint="give both as float32, float16 or int8")
            _check_shape(name, table, (table.shape[0], self.hidden_size))
            scale = getattr(self, f"{name}_scale")
            if (scale is not None) != (table.dtype == np.int8):
                problem = f"gene embedding table `{name}` is {table.dtype}, its scale is {scale!r}"
                raise KernelError(problem, hint="int8 tables, and only these, have a scale per row")
            if scale is not None:
                _check_shape(f"{name}_scale", scale, (table.shape[0],))
                _check_float32(f"{name}_scale", scale)
        for name in ("token_type", "gamma", "beta"):
            row = getattr(self, name)
            if row is not None:
                _check_shape(name, row, (self.hidden_size,))
                _check_float32(name, row)

    @cached_property
    def addresses(self) -> dict[str, int | None]:
        """Of the arrays that are there, by name: to ask each for its own takes a microsecond."""
        names = ("word", "position", "word_scale", "position_scale", "token_type", "gamma", "beta")
        arrays = {name: getattr(self, name) for name in names}
        return {name: None if a is None else a.ctypes.data for name, a in arrays.items()}

    @property
    def hidden_size(self) -> int:
        """H, numbers of a row."""
        return int(self.word.shape[-1])

    @property
    def vocabulary_size(self) -> int:
        """V: gene tokens are 0 ... V - 1."""
        return int(self.word.shape[0])

    @property
    def positions(self) -> int:
        """P: the most tokens of a cell."""
        return int(self.position.shape[0])


def load_gene_embedding_tables(path: Path, *, epsilon: float = BERT_EPSILON) -> GeneEmbeddingTables:
    """Map `gene_embedding.safetensors` of a bundle.

    Args:
        path: File with `word`, `position`, `gamma`, `beta`; optional: `token_type`, `word_scale`,
            `position_scale`.
        epsilon: `layer_norm_eps` of the encoder's configuration; the file does not hold it.

    Raises:
        KernelError: The file is damaged, or a table is missing or does not fit the others.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):  # checks the file
            tensors = _mapped(path)
    except (SafetensorError, OSError, KeyError) as error:  # KeyError: a type that NumPy lacks
        problem = f"`{path}` cannot be read as gene embedding tables: {error}"
        raise KernelError(problem, hint="export the bundle again") from error
    missing = [name for name in ("word", "position", "gamma", "beta") if name not in tensors]
    if missing:
        problem = f"`{path}` lacks the gene embedding tables {', '.join(missing)}"
        raise KernelError(problem, hint="export the bundle again")
    return GeneEmbeddingTables(
        word=tensors["word"],
        position=tensors["position"],
        token_type=tensors.get("token_type"),
        gamma=tensors["gamma"],
        beta=tensors["beta"],
        epsilon=epsilon,
        word_scale=tensors.get("word_scale"),
        position_scale=tensors.get("position_scale"),
    )


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file of safetensors that was checked.

    Raises:
        KeyError: A type that there is none of in `_DTYPES`.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        if 0 in shape:  # nothing to map
            tensors[name] = np.empty(shape, dtype)
            continue
        offset = 8 + size + entry["data_offsets"][0]
        tensors[name] = np.memmap(path, dtype, mode="r", offset=offset, shape=shape)
    return tensors


def convert_tables(tables: GeneEmbeddingTables, dtype: np.dtype[Any]) -> GeneEmbeddingTables:
    """Float32 tables in another storage dtype; int8 rows get the scale max|row| / 127.

    Raises:
        KernelError: The tables are not float32.
    """
    if tables.word.dtype != np.float32:
        problem = f"gene embedding tables are {tables.word.dtype}; only float32 ones are converted"
        raise KernelError(problem, hint="start from the tables of the float32 bundle")
    if dtype != np.int8:
        return replace(
            tables, word=tables.word.astype(dtype), position=tables.position.astype(dtype)
        )
    word, word_scale = _quantise_rows(tables.word)
    position, position_scale = _quantise_rows(tables.position)
    return replace(
        tables,
        word=word,
        position=position,
        word_scale=word_scale,
        position_scale=position_scale,
    )


def _quantise_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """[N, H] -> int8 [N, H] and float32 [N]; a zero row, as of padding, gets scale 1."""
    largest = np.abs(table).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    rounded = np.rint(table / scale[:, None])
    return np.clip(rounded, -127, 127).astype(np.int8), scale


def _check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape or not (array.flags.c_contiguous and array.flags.aligned):
        problem = (
            f"gene embedding table `{name}` has shape {array.shape}, expected {shape}, contiguous"
        )
        raise KernelError(problem, hint="export the bundle again")


def _check_float32(name: str, array: NDArray[Any]) -> None:
    if array.dtype != np.float32:
        problem = f"gene embedding table `{name}` is {array.dtype}, expected float32"
        raise KernelError(problem, hint="export the bundle again")
