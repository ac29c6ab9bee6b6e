"""CUDA sources to machine code, on the user's machine, by NVRTC; kept in a cache on disk.

No compiler is shipped or asked for: NVRTC comes with the `[gpu]` extra as a library.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from c2t.kernels.cuda.library import LibraryErrors

SOURCES = Path(__file__).parents[1]
# Of all GPUs, versions and models; a decoder's kernels take about 0.2 MB.
CACHE_BYTES = 64 << 20
SEAL_BYTES = 32


def source_path(source: str) -> Path:
    """The file of a source, such as "token_rows"; each operator has a folder of its own."""
    (path,) = SOURCES.glob(f"*/{source}.cu")
    return path


def load_cubin(source: str, defines: dict[str, int], arch: str) -> bytes:
    """Machine code of one source, from the cache or freshly compiled.

    Args:
        source: Name of a `.cu` file, without its ending.
        defines: Macros.
        arch: Such as "sm_90".

    Raises:
        KernelError: NVRTC is not installed, or refuses the source.
    """
    with _not_installed():
        from cuda.core.utils import FileStreamProgramCache, make_program_cache_key
    # The key covers the source, the options and the version of NVRTC, but not included files.
    headers = hashlib.sha256()
    for path in sorted(SOURCES.glob("*/*.cuh")):
        headers.update(path.read_bytes())
    key = make_program_cache_key(
        code=source_path(source).read_text(encoding="utf-8"),
        code_type="c++",
        options=_options(defines, arch),
        target_type="cubin",
        extra_digest=headers.digest(),
    )
    cache = code = None
    # A cache that cannot be read or written costs a second at the next start, no more.
    with contextlib.suppress(OSError):
        cache = FileStreamProgramCache(cache_folder(), max_size_bytes=CACHE_BYTES)
        code = _unsealed(cache.get(key))
    if code is None:
        code = compile_cubin(source, defines, arch)
        with contextlib.suppress(OSError):
            if cache is not None:
                cache[key] = hashlib.sha256(code).digest() + code
    return code


def _unsealed(entry: bytes | None) -> bytes | None:
    """The code of a cache's entry; None without one, and of a damaged one.

    The cache compares no content, and a driver may take damaged code for good. An entry is
    therefore the code's SHA-256 and then the code. That shows damage, not who wrote it.
    """
    if entry is None:
        return None
    digest, code = entry[:SEAL_BYTES], entry[SEAL_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def compile_cubin(source: str, defines: dict[str, int], arch: str) -> bytes:
    """Compile one source with NVRTC; needs no GPU.

    Raises:
        KernelError: NVRTC is not installed, or refuses the source.
    """
    nvrtc_version()
    from cuda.core import Program

    hint = "update the NVIDIA packages: c2t[gpu]"
    with LibraryErrors(f"{source}.cu does not compile for {arch}", hint=hint):
        program = Program(
            source_path(source).read_text(encoding="utf-8"), "c++", _options(defines, arch)
        )
        return bytes(program.compile("cubin").code)


def nvrtc_version() -> str:
    """Version of the compiler.

    Raises:
        KernelError: NVRTC is not installed.
    """
    with _not_installed():
        from cuda.bindings import nvrtc

        return ".".join(str(part) for part in nvrtc.nvrtcVersion()[1:])


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/c2t/cuda`, else `~/.cache/c2t/cuda`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2t" / "cuda"


def _options(defines: dict[str, int], arch: str) -> Any:
    with _not_installed():
        from cuda.core import ProgramOptions

    return ProgramOptions(
        std="c++17",
        arch=arch,
        include_path=str(SOURCES),
        define_macro=[(name, str(value)) for name, value in sorted(defines.items())] or None,
    )


def _not_installed() -> LibraryErrors:
    hint = "install c2t[gpu], which brings cuda-core and NVRTC"
    return LibraryErrors("the CUDA kernels cannot be compiled here", hint=hint)
