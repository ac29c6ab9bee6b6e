"""Atomic writes: whole or not at all, and never over something that was not asked for."""

import os
import stat
from pathlib import Path

import pytest

from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_file, atomic_folder, write_text


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_file_appears_whole_with_usual_permissions(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("all of it")
        assert not target.exists()
    assert target.read_text() == "all of it"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
def test_file_is_untouched_when_the_work_stops(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")

    def work() -> None:
        with atomic_file(target, force=True) as temporary:
            temporary.write_text("half")
            raise stop

    with pytest.raises(stop):
        work()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists already") as caught:
        write_text(target, "new")
    assert "--force" in caught.value.hint
    write_text(target, "new", force=True)
    assert target.read_text() == "new"


def test_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new", force=True)
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder") as caught:
        write_text(tmp_path / "no" / "out.txt", "x")
    assert "mkdir -p" in caught.value.hint


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_folder_is_untouched_when_the_work_stops(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "bundle"

    def work() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "manifest.json").write_text("half")
            raise stop

    with pytest.raises(stop):
        work()
    assert names(tmp_path) == []


def test_folder_is_replaced_only_with_force_and_marker(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()  # an empty folder may be there: mktemp -d makes one
    with atomic_folder(target) as temporary:
        (temporary / "manifest.json").write_text("1")
        (temporary / "part").mkdir()
        (temporary / "part" / "file").write_text("deep")
    with pytest.raises(OutputError, match="not empty"), atomic_folder(target):
        pass
    with atomic_folder(target, force=True) as temporary:
        (temporary / "manifest.json").write_text("2")
    assert (target / "manifest.json").read_text() == "2"
    assert names(target) == ["manifest.json"]
    assert names(tmp_path) == ["bundle"]


def test_force_never_replaces_a_folder_of_another_kind(tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.txt").write_text("years of work")
    with (
        pytest.raises(OutputError, match=r"holds no manifest\.json"),
        atomic_folder(target, force=True),
    ):
        pass
    assert (target / "chapter.txt").read_text() == "years of work"
