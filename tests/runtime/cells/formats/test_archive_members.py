"""Files of folders and of zip archives: none outside of them, none without bounds."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import pytest

from c2t.runtime.cells.formats import archive_members
from c2t.runtime.cells.formats.archive_members import FolderMembers, ZipMembers
from c2t.runtime.system.errors import CellFileError


def archive(path: Path, *names: str, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name in names:
            made.writestr(name, b"content")
    return path


def test_same_files_either_way(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(b"content")
    folder = FolderMembers(tmp_path / "folder")
    packed = ZipMembers(archive(tmp_path / "x.zip", "a", "b/c", "b/d/e"))
    for members in (folder, packed):
        assert members.names() == ["a", "b/c", "b/d/e"]
        assert [members.children(where) for where in ("", "b", "b/d", "no")] == [
            ["a", "b"],
            ["c", "d"],
            ["e"],
            [],
        ]
        assert (members.has("b/c"), members.has("b/x"), members.size("b/c")) == (True, False, 7)
        with members.open("b/d/e") as stream:
            assert stream.read() == b"content"
        members.close()
    assert FolderMembers(tmp_path / "folder", depth=1).names() == ["a", "b/c"]


@pytest.mark.parametrize("name", ["../secret", "b/../../secret", "link", "way/secret", "pipe"])
def test_folder_is_not_left(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "way").symlink_to(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    with pytest.raises(CellFileError):
        FolderMembers(folder).open(name)


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / str(number)).touch()
    with pytest.raises(CellFileError, match="has more than 4 files"):
        FolderMembers(tmp_path, most=4).names()
    path = archive(tmp_path / "x.zip", *map(str, range(5)))
    monkeypatch.setattr(archive_members, "MEMBERS_MAX", 4)
    with pytest.raises(CellFileError, match="a zip archive of 5 members"):
        ZipMembers(path)


def test_list_that_lies_about_its_size(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.zip", "a")
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x05\x06")
    content[at + 12 : at + 16] = struct.pack("<I", 1 << 30)
    path.write_bytes(bytes(content))
    with pytest.raises(CellFileError, match="1,073,741,824 bytes"):
        ZipMembers(path)


def test_members_that_are_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.zip", "a", method=zipfile.ZIP_BZIP2)
    with pytest.raises(CellFileError, match="a method that is not read"):
        ZipMembers(path).open("a")
    content = bytearray(archive(tmp_path / "y.zip", "a").read_bytes())
    at = content.find(b"PK\x01\x02")
    content[at + 8] |= 1  # encrypted
    path.write_bytes(bytes(content))
    with pytest.raises(CellFileError, match="is encrypted"):
        ZipMembers(path).open("a")


def test_member_without_a_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("x", b"content")
    content = buffer.getvalue().replace(b"x", b"\0")
    (tmp_path / "x.zip").write_bytes(content)
    assert ZipMembers(tmp_path / "x.zip").names() == []
