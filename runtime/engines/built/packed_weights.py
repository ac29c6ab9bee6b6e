"""A decoder's weights as this machine's CPU reads them: their record, finding and opening them.

One decision: they are used only by the very library, instruction set and processor that they were
made with, which then gave what ONNX Runtime gives. At opening, one step must have the bits that it
had then; nothing is packed or compared again.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.kernels.linears.stored import StoredArray
from c2t.kernels.native import ISA_NUMBER, NativeKernels, native_status
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.bundle.manifest import FileEntry
from c2t.runtime.engines.built.folder import (
    check_built_files,
    check_length,
    plan_cache,
    read_record,
)
from c2t.runtime.engines.built.plan_set import PLANS_NAME, digest_of
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.machine import look_at_machine

PANELS_NAME = "decoder.panels"
LAYOUT = 1  # of what lies in the file


@dataclass(frozen=True, kw_only=True)
class PackedIdentity:
    """What the weights were packed from, with and for.

    Args:
        bundle_sha256: Hash of the bundle's manifest.
        library_sha256: Of the compiled library.
        isa: Its instruction set, a key of `c2t.kernels.native.ISA_NUMBER`.
        processor: Name and instruction sets of the processor.
        layout: `LAYOUT`.
        target: Distinguishes the record from those of other targets.
    """

    bundle_sha256: str
    library_sha256: str
    isa: str
    processor: str
    layout: int = LAYOUT
    target: Literal["cpu"] = "cpu"

    @property
    def key(self) -> str:
        """A name for a folder: readable, and different for every other identity."""
        return f"{self.target}-{self.isa}-{digest_of(self)}"


@dataclass(frozen=True, kw_only=True)
class PackedSet:
    """The contents of their `plans.json`; `files` are all other files, by name.

    Args:
        format_version: Of the record.
        c2t_version: Of who made it.
        created: UTC, ISO 8601.
        identity: What they were made from.
        files: Length and hashes of the file of arrays.
        arrays: Where they lie in it, in their order.
        input_scales: Of the linears in int8, in their order.
        step_sha256: Of the logits of one step, see `c2t.runtime.engines.cpu.stored_step`.
        seconds: How long making them took.
    """

    format_version: int
    c2t_version: str
    created: str
    identity: PackedIdentity
    files: dict[str, FileEntry]
    arrays: list[StoredArray]
    input_scales: list[float]
    step_sha256: str
    seconds: float


def packed_command(bundle: Bundle) -> str:
    """The command that packs a bundle's weights."""
    return f"c2t build {shlex.quote(str(bundle.path))} --target cpu"


def packed_identity_of(bundle: Bundle) -> tuple[PackedIdentity, NativeKernels] | None:
    """What weights of a bundle would be packed with here, and the library; None without one."""
    kernels, library = step_kernels(), native_status().library
    if kernels is None or library is None:
        return None
    machine = look_at_machine()
    name = next(name for name, number in ISA_NUMBER.items() if number == kernels.isa)
    identity = PackedIdentity(
        bundle_sha256=bundle.digest,
        library_sha256=sha256_of(library),
        isa=name,
        processor=" ".join((machine.cpu, *machine.cpu_features)),
    )
    return identity, kernels


def read_packed_set(folder: Path, bundle: Bundle, identity: PackedIdentity) -> PackedSet:
    """Read the record of packed weights strictly, and compare their file's length.

    Raises:
        EngineError: Damaged, of a newer format, or of another identity.
    """
    path, hint = folder / PLANS_NAME, _hint(bundle)
    record = read_record(path, PackedSet, hint=hint)
    if record.identity != identity or set(record.files) != {PANELS_NAME}:
        problem = f"{path} is not the record of this bundle's packed weights"
        raise EngineError(problem, hint=hint)
    check_length(folder / PANELS_NAME, record.files[PANELS_NAME], hint=hint)
    return record


@dataclass(frozen=True, kw_only=True)
class FoundPackedSet:
    """Packed weights whose every byte was compared with their record.

    Args:
        path: The file of arrays.
        record: Of them.
        kernels: The library that they are for.
        hint: How to mend them.
    """

    path: Path
    record: PackedSet
    kernels: NativeKernels
    hint: str


def find_packed_set(bundle: Bundle, cache: Path | None = None) -> FoundPackedSet | None:
    """The packed weights of a bundle for this machine; None where none were made.

    Args:
        bundle: The bundle.
        cache: Folder of what `c2t build` makes; None: see `plan_cache`.

    Raises:
        EngineError: They were changed or damaged; the hint is the command to run.
    """
    place = plan_cache(bundle, cache)
    if not place.is_dir() or not any(place.glob("cpu-*")):
        return None
    here = packed_identity_of(bundle)
    if here is None:
        return None
    identity, kernels = here
    folder = place / identity.key
    if not folder.exists():
        return None
    record = read_packed_set(folder, bundle, identity)
    hint = _hint(bundle)
    check_built_files(folder, record.files, bundle, hint=hint)
    return FoundPackedSet(path=folder / PANELS_NAME, record=record, kernels=kernels, hint=hint)


def digest_of_logits(logits: bytes) -> str:
    """What `PackedSet.step_sha256` is of a step's logits."""
    return hashlib.sha256(logits).hexdigest()


def _hint(bundle: Bundle) -> str:
    return f"build it again with `{packed_command(bundle)} --force`"
