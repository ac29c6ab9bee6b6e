"""What a file is, by its first bytes: the name of a file is only what somebody called it."""

from __future__ import annotations

from pathlib import Path

# The most that is read of a file: a tar archive names itself at byte 257.
HEAD = 512
ZIP, SAFETENSORS = "a file of torch.save", "a safetensors file"

# First bytes of files that hold no weights that can be read here; with what to do about each.
_STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"GGUF", "a GGUF file of llama.cpp", "pass the PyTorch checkpoint that it was made from"),
    (b"ggml", "a GGML file of llama.cpp", "pass the PyTorch checkpoint that it was made from"),
    (b"ggjt", "a GGML file of llama.cpp", "pass the PyTorch checkpoint that it was made from"),
    (b"\x89HDF", "an HDF5 file", "pass a file of torch.save or safetensors"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with `unzstd`"),
    (b"BZh", "compressed by bzip2", "unpack it with `bunzip2`"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it with `unxz`"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\x93NUMPY", "a NumPy array", "pass a file of torch.save or safetensors"),
)
_DOWNLOAD = "download or save it again"


def kind_of_file(path: Path) -> tuple[str, str]:
    """What a file is, and what to do about it.

    Returns:
        `ZIP` or `SAFETENSORS` with an empty hint; else words and a hint; two empty texts where the
        first bytes say nothing: old files of torch.save are bare pickles.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "empty", _DOWNLOAD
    if head.startswith(b"PK\x03\x04"):
        return ZIP, ""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length >= 2:
        if length + 8 > size:
            return "a safetensors file that was cut short", _DOWNLOAD
        return SAFETENSORS, ""
    for start, words, hint in _STRANGERS:
        if head.startswith(start):
            return words, hint
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it first"
    if not any(head):
        return "full of zero bytes", _DOWNLOAD
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> tuple[str, str]:
    """The same for what may be text."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file itself", "download the file that the page links to"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a letter is cut by the end of what was read
            return "", ""
        text = head[: error.start].decode("utf-8")
    if start.startswith((b"{", b"[")):
        return "JSON text, not weights", "pass the file of weights, or the index of its shards"
    if all(letter.isprintable() or letter in "\t\r\n" for letter in text):
        return "text, not weights", "pass a file of torch.save or safetensors"
    return "", ""
