"""CUDA sources to machine code, on the user's machine, by NVRTC; kept in a cache on disk.

No compiler is shipped or asked for: NVRTC comes with the `[gpu]` extra as a library.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from c2t.kernels.errors import KernelError

SOURCES = Path(__file__).parents[1]


def source_path(source: str) -> Path:
    """The file of a source, such as "token_rows"; each operator has a folder of its own."""
    (path,) = SOURCES.glob(f"*/{source}.cu")
    return path


def load_cubin(source: str, defines: dict[str, int], arch: str, *, driver: str) -> bytes:
    """Machine code of one source, from the cache or freshly compiled.

    Args:
        source: Name of a `.cu` file, without its ending.
        defines: Macros.
        arch: Such as "sm_90".
        driver: Version of the driver: another one gets code of its own.

    Raises:
        KernelError: If NVRTC is not installed or refuses the source.
    """
    text = source_path(source).read_text()
    headers = [path.read_text() for path in sorted(SOURCES.glob("*/*.cuh"))]
    parts = (source, text, headers, sorted(defines.items()), arch, driver, nvrtc_version())
    path = cache_folder() / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.cubin"
    if path.is_file():
        return path.read_bytes()
    code = compile_cubin(source, defines, arch)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(code)
        Path(temporary).replace(path)  # whole or not at all, whoever else writes it
    except OSError:
        pass  # a cache that cannot be written costs a second at the next start, no more
    return code


def compile_cubin(source: str, defines: dict[str, int], arch: str) -> bytes:
    """Compile one source with NVRTC; needs no GPU.

    Raises:
        KernelError: If NVRTC is not installed or refuses the source.
    """
    try:
        from cuda.core import Program, ProgramOptions
    except ImportError as error:
        raise _not_installed(error) from error
    options = ProgramOptions(
        std="c++17",
        arch=arch,
        include_path=str(SOURCES),
        define_macro=[(name, str(value)) for name, value in sorted(defines.items())] or None,
    )
    try:
        program = Program(source_path(source).read_text(), "c++", options)
        return bytes(program.compile("cubin").code)
    except Exception as error:  # cuda-core has no public class for this
        problem = f"{source}.cu does not compile for {arch}: {error}"
        raise KernelError(problem, hint="update the NVIDIA packages: c2t[gpu]") from error


def nvrtc_version() -> str:
    """Version of the compiler, part of what identifies its output.

    Raises:
        KernelError: If NVRTC is not installed.
    """
    try:
        from cuda.bindings import nvrtc

        return ".".join(str(part) for part in nvrtc.nvrtcVersion()[1:])
    except Exception as error:  # an absent library raises a class of cuda-pathfinder
        raise _not_installed(error) from error


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/c2t/cuda`, else `~/.cache/c2t/cuda`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2t" / "cuda"


def _not_installed(error: Exception) -> KernelError:
    problem = f"the CUDA kernels cannot be compiled here: {error}"
    return KernelError(problem, hint="install c2t[gpu], which brings cuda-core and NVRTC")
