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


def large(path: Path, count: int, comment: bytes = b"") -> bytearray:
    """An archive whose end is in the format of large ones, as it is from 65,536 members on."""
    with zipfile.ZipFile(path, "w") as made:
        for number in range(count):
            made.writestr(zipfile.ZipInfo(str(number)), b"")
        made.comment = comment
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x05\x06")
    if content[at - 20 : at - 16] == b"PK\x06\x07":
        return content
    end = bytes(content[at : at + 22])
    listed, offset = struct.unpack("<II", end[12:20])
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, listed, offset
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    full = end[:8] + b"\xff" * 12 + end[20:]
    return content[:at] + bytearray(record + locator + full) + content[at + 22 :]


def fake_record(count: int = 1) -> bytes:
    return struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, 46, 0)


@pytest.mark.parametrize("made", ["small", "large"])
@pytest.mark.parametrize("comment", [b"", b"made by hand", fake_record()], ids=len)
def test_only_the_end_that_is_read_says_how_long_the_list_is(
    made: str, comment: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    if made == "large":
        path.write_bytes(large(path, 5, comment))
    else:
        with zipfile.ZipFile(archive(path, *map(str, range(5))), "a") as opened:
            opened.comment = comment
    assert ZipMembers(path).names() == list("01234")
    monkeypatch.setattr(archive_members, "MEMBERS_MAX", 4)
    with pytest.raises(CellFileError, match="a zip archive of 5 members"):
        ZipMembers(path)


def test_member_that_holds_a_record_is_no_end(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a", fake_record(1 << 40))
    assert ZipMembers(path).names() == ["a"]


def test_locator_without_its_record_or_with_two(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    content = large(path, 5)
    at = content.rfind(b"PK\x06\x06")
    path.write_bytes(content[:at] + b"no" + content[at + 2 :])
    with pytest.raises(CellFileError, match="does not say where its list is"):
        ZipMembers(path)
    content = large(tmp_path / "y.zip", 5)
    elsewhere = fake_record() + bytes(content)
    at = elsewhere.rfind(b"PK\x06\x07")
    path.write_bytes(elsewhere[: at + 8] + struct.pack("<Q", 0) + elsewhere[at + 16 :])
    with pytest.raises(CellFileError, match="does not say where its list is"):
        ZipMembers(path)


def test_list_that_lies_about_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "x.zip", *map(str, range(50)))
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x05\x06")
    content[at + 8 : at + 12] = struct.pack("<HH", 1, 1)
    path.write_bytes(bytes(content))
    assert len(ZipMembers(path).names()) == 50
    monkeypatch.setattr(archive_members, "MEMBERS_MAX", 40)
    with pytest.raises(CellFileError, match="a zip archive of 50 members"):
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
