"""`c2t build --target cpu` as a function: a decoder's weights packed for this machine's CPU.

One decision: what is written was compared with ONNX Runtime here, as at every opening without it.
So a bundle that our kernel does not run, or runs wrongly, is refused, and nothing is written.
"""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import c2t
from c2t.kernels.linears.stored import write_arrays
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import DECODER_GRAPH
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.built.folder import make_cache, plan_cache
from c2t.runtime.engines.built.packed_weights import (
    PANELS_NAME,
    FoundPackedSet,
    PackedSet,
    packed_command,
    packed_identity_of,
    read_packed_set,
)
from c2t.runtime.engines.built.plan_set import FORMAT_VERSION, PLANS_NAME
from c2t.runtime.engines.cpu.kernel_step import KernelSteps, open_decoder
from c2t.runtime.engines.cpu.stored_step import open_stored_decoder, step_digest
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import EngineError, OutputError
from c2t.runtime.system.files import atomic_folder

Report = Callable[[str], None]


# `c2t build --json` prints it under this name.
class BuiltPackedSet(msgspec.Struct, frozen=True, kw_only=True, rename={"record": "cpu_set"}):
    """Where the weights are, their record, and whether they were there already."""

    folder: str
    found: bool
    record: PackedSet


def build_packed(
    bundle: Bundle,
    *,
    cache: Path | None = None,
    force: bool = False,
    report: Report = lambda _: None,
) -> BuiltPackedSet:
    """Pack the weights of a bundle's decoder, or find them.

    Args:
        bundle: The bundle.
        cache: Folder to write to; None: see `c2t.runtime.engines.built.folder.plan_cache`.
        force: Make again what is there already.
        report: Called with each line for the user.

    Raises:
        EngineError: Our kernel does not run the decoder here, or what is there is damaged.
        OutputError: The folder cannot be written, or its disk has too little space.
    """
    here = packed_identity_of(bundle)
    if here is None:
        problem = "there is no step kernel for this processor"
        raise EngineError(problem, hint="nothing to build: ONNX Runtime runs the bundle as it is")
    identity, kernels = here
    place = plan_cache(bundle, cache)
    folder = place / identity.key
    if not force and folder.exists():
        known = read_packed_set(folder, bundle, identity)
        return BuiltPackedSet(folder=str(folder), found=True, record=known)
    make_cache(place)
    _check_space(place, bundle.manifest.files[f"{DECODER_GRAPH}.data"].bytes)
    since = time.perf_counter()
    report("packing the decoder's weights and comparing its kernel with ONNX Runtime")
    options = EngineOptions(prepack=True, spin=False)
    decoder, said = open_decoder(
        bundle.file(DECODER_GRAPH), bundle.manifest.decoder, bundle.token_embedding, options
    )
    if not isinstance(decoder.kernel, KernelSteps):
        raise EngineError(said, hint="nothing to build: ONNX Runtime runs the bundle as it is")
    packed, digest = decoder.kernel.packed, step_digest(decoder)
    report("writing them")
    with atomic_folder(folder, force=True, marker=PLANS_NAME) as partly:
        with (partly / PANELS_NAME).open("wb") as stream:
            arrays = write_arrays(stream, packed.arrays())
        record = PackedSet(
            format_version=FORMAT_VERSION,
            c2t_version=c2t.__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            identity=identity,
            files=file_entries(partly, [PANELS_NAME]),
            arrays=arrays,
            input_scales=packed.input_scales(),
            step_sha256=digest,
            seconds=round(time.perf_counter() - since, 2),
        )
        # What cannot be opened from it is not left behind.
        hint = f"run `{packed_command(bundle)} --force` again"
        written = FoundPackedSet(
            path=partly / PANELS_NAME, record=record, kernels=kernels, hint=hint
        )
        open_stored_decoder(bundle, written, options)
        (partly / PLANS_NAME).write_bytes(json_bytes(record))
    return BuiltPackedSet(folder=str(folder), found=False, record=record)


def _check_space(place: Path, wanted: int) -> None:
    """Refuse a full disk before the work: what is packed takes about what the weights take.

    Raises:
        OutputError: There is too little space.
    """
    free = shutil.disk_usage(place).free
    if free < wanted:
        problem = f"{place} has {free / 1e6:,.0f} MB left; packed weights take {wanted / 1e6:,.0f}"
        raise OutputError(problem, hint="free some, or name another folder with --cache")
