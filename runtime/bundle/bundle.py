"""A bundle on disk: no byte is used that is not what the manifest says.

A bundle is a folder that holds all one needs to describe cells offline. Its files may come from
strangers, so nothing here unpickles, every path must stay inside the folder, sizes are checked
before anything is read, and hashes before anything is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from c2t.runtime.bundle.checked_files import CheckedFiles, Showing
from c2t.runtime.bundle.constant_prefix import ConstantPrefix, prefix_reference
from c2t.runtime.bundle.gene_order import GENE_ORDER_NAME, read_gene_order
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.bundle.graph_content import GraphContent, read_content
from c2t.runtime.bundle.graph_ends import check_ends
from c2t.runtime.bundle.hashes import (
    COPY_HINT,
    FileState,
    Progress,
    check_files,
    check_signed_files,
)
from c2t.runtime.bundle.manifest import (
    GENES_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    TOKENIZER_NAME,
    Manifest,
    TensorReference,
)
from c2t.runtime.bundle.manifest_file import parse_manifest
from c2t.runtime.bundle.tensors import BUNDLE_DTYPES, Int8Rows, map_tensor, region
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME, UnsureRule, read_rule
from c2t.runtime.system.checked_read import read_bounded, read_json
from c2t.runtime.system.errors import BundleError

if TYPE_CHECKING:
    from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
    from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
    from c2t.runtime.bundle.text_encoder import TextEncoder
    from c2t.runtime.bundle.text_tokenizer import TextTokenizer
    from c2t.runtime.trust.folder import SignedFolder
    from c2t.runtime.trust.keys import TrustedKey

# A manifest is a few kilobytes; one that is megabytes long is not ours.
MANIFEST_BYTES_MAX = 4 << 20
GOLDEN_BYTES_MAX = 64 << 20


@dataclass(frozen=True, kw_only=True)
class GoldenCell:
    """A cell whose text was written with the bundle: PyTorch's, or a quantised bundle's own.

    `gene_tokens` of a bundle without an encoder are the text tokens of the cell's whole prompt.
    """

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
        trust: The key that all of it is signed with; None: nobody asked for one.
        wholly: Its signature is of whole files: block hashes alone are not enough.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        digest: str,
        states: Mapping[str, FileState],
        *,
        trust: TrustedKey | None = None,
        wholly: bool = False,
    ) -> None:
        """See `open_bundle`.

        Args:
            path: The folder.
            manifest: Parsed and checked.
            digest: SHA-256 of the manifest.
            states: Of all files, when their names and lengths were checked.
            trust: The key of its signature.
            wholly: Block hashes alone are not enough: see `CheckedFiles`.
        """
        self.path = path
        self.manifest = manifest
        self.digest = digest
        self.trust = trust
        self.wholly = wholly
        self._files = CheckedFiles(
            path, manifest.files, states, on_use=trust is not None, wholly=wholly
        )

    def __repr__(self) -> str:
        m = self.manifest
        return f"Bundle({str(self.path)!r}, {m.name!r}, {m.precision}, {self.digest[:12]})"

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(entry.bytes for entry in self.manifest.files.values())

    def file(self, name: str) -> Path:
        """Path of one file of the bundle, which is about to be opened.

        All that opens a file of a bundle asks here. A graph brings its data file along. After
        `check_on_use`, and of a signed bundle, all of them was hashed before.

        Raises:
            BundleError: The manifest does not list `name`, or it changed after it was checked.
        """
        self._check_listed(name)
        self._files.need((name, f"{name}.data") if name in self.manifest.graphs else (name,))
        return self.path / name

    def graph_alone(self, name: str, *, shapes: bool = False) -> GraphContent:
        """Nodes of a graph, and the values that its own file holds: its data file is not read.

        Args:
            name: One of `Manifest.graphs`.
            shapes: See `c2t.runtime.bundle.graph_content.read_content`.

        Raises:
            BundleError: It changed after it was checked, or cannot be read.
        """
        self._check_listed(name)
        self._files.need((name,))
        return read_content(self.path / name, data=False, shapes=shapes)

    def tensor(self, reference: TensorReference) -> NDArray[Any]:
        """Memory-map a tensor that lies inside a file of the bundle, read-only.

        Where files are hashed before use, only the blocks that it lies in are.

        Raises:
            BundleError: The manifest does not list the file, the region does not lie inside it, or
                its dtype is not one of `BUNDLE_DTYPES`.
        """
        self._check_listed(reference.file)
        self._files.need_range(reference.file, *region(reference, BUNDLE_DTYPES))
        return map_tensor(
            self.path, reference, dtypes=BUNDLE_DTYPES, error=BundleError, hint=COPY_HINT
        )

    def check_unchanged(self) -> None:
        """Refuse files that were written to, or exchanged, since they were checked.

        Weights are mapped, not read: what is written to their file changes what engines compute.

        Raises:
            BundleError: Names the first one.
        """
        self._files.check_unchanged()

    def check_on_use(self, showing: Showing | None = None, *, wholly: bool = False) -> None:
        """Compare hashes of small files now, and those of the others before they are first used.

        What no engine opens is not hashed: with plans that were built of the graphs, most of a
        bundle is not read.

        Args:
            showing: Shows the progress of what takes longer than a moment.
            wholly: Block hashes alone are not enough, as for a process that opened it with `trust`
                and found `wholly` true.

        Raises:
            BundleError: A small file differs. Others raise where they are first used.
        """
        self._files.check_on_use(showing, wholly=wholly)

    def check_hashes(self, *, wholly: bool = False, progress: Progress | None = None) -> None:
        """Compare the hashes of all files with the manifest.

        Args:
            wholly: The SHA-256 of each file, and those of its blocks, which say the same if the
                manifest is right. Else one of them.
            progress: Called with the number of bytes hashed since its last call.

        Raises:
            BundleError: Lists every file that differs.
        """
        self._files.check(wholly=wholly, progress=progress)

    def _check_listed(self, name: str) -> None:
        if name not in self.manifest.files:
            problem = f"the bundle has no file {name!r}"
            raise BundleError(problem, hint=f"its files: {', '.join(sorted(self.manifest.files))}")

    def forget(self) -> None:
        """Give up the parts that were loaded, and with them their memory and mapped files."""
        kept = {"path", "manifest", "digest", "trust", "wholly", "_files"}
        for name in self.__dict__.keys() - kept:
            del self.__dict__[name]

    @cached_property
    def genes(self) -> GeneVocabulary:
        """Gene vocabulary, medians and aliases."""
        from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary

        return GeneVocabulary.load(self.file(GENES_NAME))

    @cached_property
    def gene_order(self) -> tuple[str, ...]:
        """The list of genes that gene sentences are ordered by; empty where it has none.

        Raises:
            BundleError: It has another number of genes than the manifest says.
        """
        sentence = self.manifest.gene_sentence
        if sentence is None or not sentence.listed:
            return ()
        genes = read_gene_order(self.file(GENE_ORDER_NAME), error=BundleError, hint=COPY_HINT)
        if len(genes) != sentence.listed:
            problem = f"the list has {len(genes):,} genes, the manifest says {sentence.listed:,}"
            raise BundleError(problem, hint="export the bundle again")
        return genes

    @cached_property
    def gene_embedding_tables(self) -> GeneEmbeddingTables:
        """Tables of the fused gene-embedding kernel."""
        from c2t.kernels.gene_embedding.tables import load_gene_embedding_tables

        spec = self.manifest.gene_input
        tables = load_gene_embedding_tables(
            self.file("gene_embedding.safetensors"), epsilon=spec.layer_norm_epsilon
        )
        shape = (spec.vocabulary_size, spec.hidden_size)
        if tables.word.shape != shape:
            problem = f"gene table is {tables.word.shape}, the manifest says {shape}"
            raise BundleError(problem, hint="export the bundle again")
        return tables

    @cached_property
    def token_embedding(self) -> NDArray[Any]:
        """Text token rows [V,D], memory-mapped.

        Index it by rows only: an int8 table is not an array, and widens only the rows asked for.

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
        # It looks rows up as an array does.
        return cast("NDArray[Any]", Int8Rows(values, self.tensor(scale)))

    @cached_property
    def constant_prefix(self) -> ConstantPrefix | None:
        """Stored keys and values of what every prompt begins with; None where there are none.

        Raises:
            BundleError: They do not lie inside their file.
        """
        stored = self.manifest.stored_prefix
        if not stored:
            return None
        values = self.tensor(prefix_reference(self.manifest.decoder, stored))
        return ConstantPrefix(token_ids=stored, keys_values=values)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """What makes texts of text tokens."""
        from c2t.runtime.bundle.text_tokenizer import open_tokenizer

        return open_tokenizer(self.file(TOKENIZER_NAME))

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """What makes text tokens of texts.

        Raises:
            BundleError: Its tokenizer is of a kind for which a library is missing.
        """
        from c2t.runtime.bundle.text_encoder import open_encoder

        return open_encoder(self.file(TOKENIZER_NAME))

    @cached_property
    def unsure_rule(self) -> UnsureRule | None:
        """How likely a named cell type is right; None where the bundle does not state it.

        Raises:
            BundleError: Its file cannot be right.
        """
        if UNSURE_NAME not in self.manifest.files:
            return None
        return read_rule(self.file(UNSURE_NAME))

    @cached_property
    def golden(self) -> GoldenCells:
        """Cells with their expected text, for `c2t verify`."""
        return read_json(
            self.file(GOLDEN_NAME),
            GoldenCells,
            bytes_max=GOLDEN_BYTES_MAX,
            error=BundleError,
            hint=COPY_HINT,
        )


def open_bundle(
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
    trust: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Open a bundle after checking it.

    Args:
        path: The bundle's folder.
        verify: Check the SHA-256 of every file. Presence, containment and sizes are always checked.
        trust: PEM file of a public key. Only a bundle whose files are all signed with it is opened;
            without `verify`, each file is then hashed before it is first used.
        progress: Called with the number of bytes hashed since its last call.

    Raises:
        BundleError: Not a bundle, a newer format, a missing, changed or escaping file, a graph with
            operators that c2t does not write.
        TrustError: Not signed with the trusted key as it is, or no key to trust.
    """
    folder = Path(path)
    manifest_path = folder / MANIFEST_NAME
    if not folder.is_dir() or not manifest_path.is_file():
        problem = f"{folder} is not a bundle: it has no {MANIFEST_NAME}"
        hint = "give its folder, such as c2t-demo/bundle, or make one with `c2t export`"
        raise BundleError(problem, hint=hint)
    content = read_bounded(
        manifest_path, bytes_max=MANIFEST_BYTES_MAX, error=BundleError, hint=COPY_HINT
    )
    digest = hashlib.sha256(content).hexdigest()
    signed = None if trust is None else _check_signed(folder, trust, digest)
    manifest = parse_manifest(content)
    states = check_files(folder, manifest.files)
    if signed is not None:
        check_signed_files(signed, manifest.files)
    check_ends(manifest, {name: check_graph(folder / name) for name in manifest.graphs})
    bundle = Bundle(
        folder,
        manifest,
        digest,
        states,
        trust=signed.key if signed else None,
        # Who signed may have looked at whole files only: then they say what may run.
        wholly=signed is not None and not signed.blocks_compared,
    )
    if verify:
        bundle.check_hashes(progress=progress)
    return bundle


def _check_signed(folder: Path, trust: str | os.PathLike[str], digest: str) -> SignedFolder:
    """Check the signature of a folder, before anything of it but the manifest is read."""
    from c2t.runtime.trust.folder import SignedFolder
    from c2t.runtime.trust.keys import TrustedKey

    signed = SignedFolder.open(folder, TrustedKey.read(trust))
    signed.compare({MANIFEST_NAME: digest})
    return signed
