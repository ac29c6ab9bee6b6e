"""Errors of NVIDIA's libraries, and the cache of what they compile."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2t.kernels.cuda import compile as cuda_compile
from c2t.kernels.cuda.compile import load_cubin
from c2t.kernels.cuda.library import LibraryErrors
from c2t.kernels.errors import KernelError

MACROS = {"C2T_TABLE": 0, "C2T_OUT": 0}


@pytest.mark.parametrize(
    "error", [RuntimeError("no library"), ValueError("too large"), ImportError("no module")]
)
def test_what_a_library_raises_is_an_error_with_a_hint(error: Exception) -> None:
    with (
        pytest.raises(KernelError, match=r"^it fails: ") as caught,
        LibraryErrors("it fails", hint="mend it"),
    ):
        raise error
    assert caught.value.hint == "mend it"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [AttributeError("ours"), KeyError("ours"), KernelError("known"), KeyboardInterrupt()]
)
def test_mistakes_and_known_errors_stay_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, LibraryErrors("it fails", hint="mend it"):
        raise error
    assert caught.value is error


@pytest.mark.usefixtures("nvrtc")
def test_a_source_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = load_cubin("token_rows", MACROS, "sm_90")
    assert code.startswith(b"\x7fELF")

    def refuse(source: str, defines: dict[str, int], arch: str) -> bytes:
        message = "compiled again"
        raise KernelError(message)

    monkeypatch.setattr(cuda_compile, "compile_cubin", refuse)
    assert load_cubin("token_rows", MACROS, "sm_90") == code
    for macros, arch in (({"C2T_TABLE": 1, "C2T_OUT": 0}, "sm_90"), (MACROS, "sm_80")):
        with pytest.raises(KernelError, match="compiled again"):
            load_cubin("token_rows", macros, arch)


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("damage", ["a bit", "the end", "all"])
def test_damaged_code_in_the_cache_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = load_cubin("token_rows", MACROS, "sm_90")
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and code in path.read_bytes()]
    assert len(kept) == 1
    content = bytearray(kept[0].read_bytes())
    content[-9] ^= 4
    changed = {"a bit": content, "the end": content[:-100], "all": b""}[damage]
    kept[0].write_bytes(changed)
    assert load_cubin("token_rows", MACROS, "sm_90") == code
    assert code in kept[0].read_bytes()


@pytest.mark.usefixtures("nvrtc")
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c2t").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_cubin("token_rows", MACROS, "sm_90").startswith(b"\x7fELF")


@pytest.mark.usefixtures("nvrtc")
def test_a_source_that_is_refused() -> None:
    with pytest.raises(KernelError, match=r"token_rows.cu does not compile for sm_90"):
        cuda_compile.compile_cubin("token_rows", {"C2T_TABLE": 0, "C2T_OUT": 9}, "sm_90")
