"""A bundle on disk: opened only if every byte is what the manifest says.

A bundle is a folder that holds all one needs to describe cells offline. Its files may come from
strangers, so nothing here unpickles, every path must stay inside the folder, sizes are checked
before anything is read, and hashes before anything is used.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    TensorReference,
)
from c2t.runtime.bundle.manifest_check import check_manifest
from c2t.runtime.bundle.tensors import Int8Rows
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from c2t.kernels.gene_embedding.embed import GeneEmbeddingTables
    from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary

# A manifest is a few kilobytes; one that is megabytes long is not ours.
MANIFEST_BYTES_MAX = 4 << 20
GOLDEN_BYTES_MAX = 64 << 20
READ_BLOCK = 4 << 20

GRAPHS = ("encoder.onnx", "projector.onnx", "decoder.onnx")
REQUIRED_FILES = (
    *GRAPHS,
    *(f"{graph}.data" for graph in GRAPHS),
    "gene_embedding.safetensors",
    "genes.npz",
    "tokenizer.json",
    "golden.json",
)
GOLDEN_NAME = "golden.json"
# What a manifest may call a tensor's type. Nothing else is mapped: values of type `object` would be
# taken for addresses.
TENSOR_DTYPES = ("float32", "float16", "int8")

T = TypeVar("T")
Progress = Callable[[int], None]  # called with the number of bytes done since the last call


@dataclass(frozen=True, kw_only=True)
class GoldenCell:
    """A cell whose text was written with the bundle: PyTorch's, or a quantised bundle's own."""

    gene_tokens: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class GoldenCells:
    """The contents of `golden.json`."""

    cells: tuple[GoldenCell, ...]


class Bundle:
    """An opened bundle. Its parts are loaded when first asked for.

    Attributes:
        path: The folder.
        manifest: The parsed manifest.
        digest: SHA-256 of `manifest.json`; as that file holds the hash of every other file, it
            identifies the whole bundle.
    """

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest

    def __repr__(self) -> str:
        m = self.manifest
        return f"Bundle({str(self.path)!r}, {m.name!r}, {m.precision}, {self.digest[:12]})"

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(entry.bytes for entry in self.manifest.files.values())

    def file(self, name: str) -> Path:
        """Path of one file of the bundle.

        Raises:
            BundleError: The manifest does not list `name`.
        """
        if name not in self.manifest.files:
            problem = f"the bundle has no file {name!r}"
            raise BundleError(problem, hint=f"its files: {', '.join(sorted(self.manifest.files))}")
        return self.path / name

    def tensor(self, reference: TensorReference) -> NDArray[Any]:
        """Memory-map a tensor that lies inside a file of the bundle, read-only.

        Raises:
            BundleError: The region does not lie inside the file, or its type is none of a tensor.
        """
        path = self.file(reference.file)
        if reference.dtype not in TENSOR_DTYPES:
            problem = _bad_tensor(reference, f"is said to be {reference.dtype!r}")
            raise BundleError(problem, hint=f"a tensor is one of {', '.join(TENSOR_DTYPES)}")
        dtype = np.dtype(reference.dtype)
        # math.prod: a shape that overflows 64 bits must not look small.
        need = reference.offset + math.prod(reference.shape) * dtype.itemsize
        if reference.offset < 0 or min(reference.shape, default=0) <= 0:
            raise BundleError(_bad_tensor(reference, "has a negative offset or an empty shape"))
        if need > path.stat().st_size:
            raise BundleError(_bad_tensor(reference, f"ends at byte {need:,}, past the file's end"))
        return np.memmap(
            path, dtype=dtype, mode="r", offset=reference.offset, shape=reference.shape
        )

    def forget(self) -> None:
        """Give up the parts that were loaded, and with them their memory and mapped files."""
        kept = {"path", "manifest", "digest"}
        for name in self.__dict__.keys() - kept:
            del self.__dict__[name]

    @cached_property
    def genes(self) -> GeneVocabulary:
        """Gene vocabulary, medians and aliases."""
        from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary

        return GeneVocabulary.load(self.file("genes.npz"))

    @cached_property
    def gene_embedding_tables(self) -> GeneEmbeddingTables:
        """Tables of the fused gene-embedding kernel."""
        from c2t.kernels.gene_embedding.embed import load_gene_embedding_tables

        spec = self.manifest.gene_input
        tables = load_gene_embedding_tables(
            self.file("gene_embedding.safetensors"), epsilon=spec.layer_norm_epsilon
        )
        found = (tables.word.shape[0], tables.word.shape[1])
        if found != (spec.vocabulary_size, spec.hidden_size):
            problem = (
                f"gene table is {found}, the manifest says {spec.vocabulary_size, spec.hidden_size}"
            )
            raise BundleError(problem, hint="export the bundle again")
        return tables

    @cached_property
    def token_embedding(self) -> NDArray[Any]:
        """Text token rows [vocabulary, width], memory-mapped.

        Index it by rows only: an int8 table is no array, it widens the rows that are asked for.

        Raises:
            BundleError: The table or its scales do not lie inside their file, or do not fit.
        """
        spec = self.manifest.decoder
        table, scale = spec.token_embedding, spec.token_scale
        rows = (spec.vocabulary_size, spec.hidden_size)
        if table.shape != rows:
            problem = f"the text token table is {table.shape}, the manifest says {rows}"
            raise BundleError(problem, hint="export the bundle again")
        stated = None if scale is None else (scale.shape, scale.dtype)
        if stated != ((rows[:1], "float32") if table.dtype == "int8" else None):
            problem = f"the text token table is {table.dtype}, its scales are {scale}"
            raise BundleError(problem, hint="calibrate the float32 bundle again")
        values = self.tensor(table)
        if scale is None:
            return values
        # The same to all who look rows up.
        return cast("NDArray[Any]", Int8Rows(values, self.tensor(scale)))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The text tokenizer (Hugging Face `tokenizers`)."""
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(self.file("tokenizer.json")))
        except Exception as error:  # tokenizers raises bare Exception on a malformed file
            problem = f"tokenizer.json is not a tokenizer: {error}"
            raise BundleError(problem, hint="export the bundle again") from error

    @cached_property
    def golden(self) -> GoldenCells:
        """Cells with their expected text, for `c2t verify`."""
        return _decode(
            _read_bounded(self.file(GOLDEN_NAME), GOLDEN_BYTES_MAX), GoldenCells, GOLDEN_NAME
        )


def open_bundle(
    path: str | os.PathLike[str], *, verify: bool = True, progress: Progress | None = None
) -> Bundle:
    """Open a bundle after checking it.

    Args:
        path: The bundle's folder.
        verify: Check the SHA-256 of every file. Presence, containment and sizes are always checked.
        progress: Called with the number of bytes hashed since its last call.

    Raises:
        BundleError: Not a bundle, a newer format, a missing, changed or escaping file.
    """
    folder = Path(path)
    manifest_path = folder / MANIFEST_NAME
    if not folder.is_dir() or not manifest_path.is_file():
        problem = f"{folder} is not a bundle: it has no {MANIFEST_NAME}"
        raise BundleError(problem, hint="make one with `c2t export`")
    raw = _read_bounded(manifest_path, MANIFEST_BYTES_MAX)
    manifest = parse_manifest(raw)
    _check_files(folder, manifest.files)
    if verify:
        check_hashes(folder, manifest.files, progress=progress)
    return Bundle(folder, manifest, hashlib.sha256(raw).hexdigest())


def parse_manifest(raw: bytes) -> Manifest:
    """Parse `manifest.json` strictly.

    Raises:
        BundleError: Malformed, incomplete, with unknown fields, or of a newer format.
    """
    version = _decode(raw, _Versioned, MANIFEST_NAME).format_version
    if version > FORMAT_VERSION:
        problem = f"the bundle has format {version}; this c2t reads up to format {FORMAT_VERSION}"
        raise BundleError(problem, hint="update c2t, or export the bundle with this version")
    document = _decode(raw, dict[str, Any], MANIFEST_NAME)
    unknown = list(_unknown_fields(document, msgspec.inspect.type_info(Manifest), ""))
    if unknown:
        problem = f"{MANIFEST_NAME} has unknown fields: {', '.join(unknown)}"
        raise BundleError(problem, hint="export the bundle again with this version of c2t")
    manifest = _decode(raw, Manifest, MANIFEST_NAME)
    missing = [name for name in REQUIRED_FILES if name not in manifest.files]
    if missing:
        problem = f"{MANIFEST_NAME} does not list: {', '.join(missing)}"
        raise BundleError(problem, hint="export the bundle again")
    check_manifest(manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, readable by people (indented, in the order of the schema)."""
    (folder / MANIFEST_NAME).write_bytes(json_bytes(manifest))


def file_entries(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Length and SHA-256 of the named files of a folder."""
    ordered = sorted(names)
    with ThreadPoolExecutor(max_workers=2) as pool:
        digests = list(pool.map(lambda name: sha256_of(folder / name), ordered))
    return {
        name: FileEntry(bytes=(folder / name).stat().st_size, sha256=digest)
        for name, digest in zip(ordered, digests, strict=True)
    }


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def check_hashes(
    folder: Path, entries: dict[str, FileEntry], *, progress: Progress | None = None
) -> None:
    """Compare every file's SHA-256 with the manifest's.

    Raises:
        BundleError: Lists every file that differs.
    """
    names = sorted(entries)
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashlib releases the interpreter lock
        found = list(pool.map(lambda name: sha256_of(folder / name, progress), names))
    changed = [n for n, digest in zip(names, found, strict=True) if digest != entries[n].sha256]
    if changed:
        problem = f"changed since the bundle was written (SHA-256 differs): {', '.join(changed)}"
        raise BundleError(problem, hint="copy the bundle again from its source, or export it again")


@dataclass(frozen=True)
class _Versioned:
    format_version: int


def is_plain_name(name: str) -> bool:
    """Whether a name stays in its folder: "..", absolute paths and drive letters do not."""
    return name not in ("", ".", "..") and not any(c in name for c in "/\\:\0")


def _check_files(folder: Path, entries: dict[str, FileEntry]) -> None:
    """Every listed file is a plain name inside the folder, exists, and has its stated length."""
    inside = folder.resolve()
    problems: list[str] = []
    for name, entry in entries.items():
        if name == MANIFEST_NAME or not is_plain_name(name):
            problems.append(f"{name!r} is not a plain file name: a path may not leave the folder")
            continue
        path = folder / name
        if path.is_symlink() and path.resolve().parent != inside:
            problems.append(f"{name} is a link that leaves the folder")
        elif not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry.bytes:
            problems.append(f"{name} has {path.stat().st_size:,} bytes, expected {entry.bytes:,}")
    if problems:
        problem = f"the bundle {folder} is damaged: {'; '.join(problems)}"
        raise BundleError(problem, hint="copy the bundle again from its source, or export it again")


def _read_bounded(path: Path, limit: int) -> bytes:
    size = path.stat().st_size
    if size > limit:
        problem = f"{path.name} has {size:,} bytes; at most {limit:,} are read"
        raise BundleError(problem, hint="this is not a file that c2t wrote")
    return path.read_bytes()


def _decode(raw: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        problem = f"{name} cannot be read: {error}"
        raise BundleError(problem, hint="copy the bundle again, or export it again") from error


def _unknown_fields(document: Any, schema: msgspec.inspect.Type, where: str) -> Iterator[str]:
    """Names in `document` that its class does not have; msgspec ignores them."""
    fields = getattr(schema, "fields", None)
    if fields is None or not isinstance(document, dict):
        return
    types = {field.encode_name: field.type for field in fields}
    for name, value in document.items():
        if name not in types:
            yield f"{where}{name}"
        else:
            yield from _unknown_fields(value, types[name], f"{where}{name}.")


def _bad_tensor(reference: TensorReference, what: str) -> str:
    return f"the tensor of shape {reference.shape} in {reference.file} {what}"
