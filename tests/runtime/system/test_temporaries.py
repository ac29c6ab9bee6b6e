"""What killed writers leave is removed, put back or replaced; what others write is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2t.runtime.system import files, temporaries
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_file, atomic_files, atomic_folder, write_text
from c2t.runtime.system.temporaries import remove_litter, temporary_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are not asked there")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str, *arguments: Path) -> None:
    """Run code in a process that kills itself."""
    head = (
        "import os, signal, sys; from pathlib import Path; from c2t.runtime.system import files\n"
    )
    words = [sys.executable, "-c", head + code, *map(str, arguments)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL


def test_litter_of_a_killed_writer_goes_at_the_next_start(tmp_path: Path) -> None:
    target, folder = tmp_path / "out.txt", tmp_path / "bundle"
    killed(
        """
with files.atomic_file(Path(sys.argv[1])) as a, files.atomic_folder(Path(sys.argv[2])) as b:
    (b / "part").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
""",
        target,
        folder,
    )
    assert len(names(tmp_path)) == 2
    write_text(target, "whole")
    with atomic_folder(folder) as inside:
        (inside / "manifest.json").touch()
    assert names(tmp_path) == ["bundle", "out.txt"]


def test_what_a_living_writer_writes_stays(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with atomic_file(target) as temporary:
        remove_litter(target)
        assert temporary.exists()
    assert names(tmp_path) == ["out.txt"]


def test_litter_of_other_machines_goes_after_a_day(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    away = tmp_path / ".out.txt.00000000-12-01234567.tmp"
    old_name = tmp_path / ".out.txt.01234567.tmp"
    others = [
        tmp_path / ".out.txt.partial",
        tmp_path / ".out.txt.notes.tmp",
        tmp_path / ".out.txt.bak.01234567.tmp",
        tmp_path / ".other.txt.01234567.tmp",
    ]
    for path in (away, old_name, *others):
        path.touch()
    remove_litter(target)
    assert away.exists()
    yesterday = time.time() - 2 * temporaries.SECONDS_UNTIL_OLD
    for path in (away, old_name, *others):
        os.utime(path, (yesterday, yesterday))
    remove_litter(target)
    assert names(tmp_path) == sorted(path.name for path in others)


def test_killed_between_two_renames(tmp_path: Path) -> None:
    targets = [tmp_path / "a.txt", tmp_path / "b.txt"]
    killed(
        """
rename, calls = Path.replace, []
def replace(self, place):
    if calls:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(self)
    return rename(self, place)
Path.replace = replace
with files.atomic_files(list(map(Path, sys.argv[1:]))) as temporaries:
    for path in temporaries:
        path.write_text("first run")
""",
        *targets,
    )
    assert targets[0].exists()
    assert not targets[1].exists()
    with atomic_files(targets) as written:
        for path in written:
            path.write_text("second run")
    assert [path.read_text() for path in targets] == ["second run"] * 2
    assert names(tmp_path) == ["a.txt", "b.txt"]
    with pytest.raises(OutputError, match="exists already"), atomic_files(targets):
        pass


def test_file_that_somebody_else_put_there_after_the_kill(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    killed(
        """
from c2t.runtime.system.temporaries import note_renaming
place = Path(sys.argv[1])
place.write_text("ours")
note_renaming(place, place)
os.kill(os.getpid(), signal.SIGKILL)
""",
        target,
    )
    files.check_target(target)
    target.unlink()
    target.write_text("theirs, and longer")
    with pytest.raises(OutputError, match="exists already"):
        files.check_target(target)
    remove_litter(target)
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("swaps", [True, False])
def test_folder_is_never_missing_for_long(
    swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    for text in ("1", "2"):
        if not swaps:
            monkeypatch.setattr(files, "_swap", lambda one, other: False)
        with atomic_folder(target, force=True) as inside:
            (inside / "manifest.json").write_text(text)
        assert (target / "manifest.json").read_text() == text
    assert names(tmp_path) == ["bundle"]


def test_killed_while_the_old_folder_stood_aside(tmp_path: Path) -> None:
    """Where the disk cannot exchange two names in one step."""
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "manifest.json").write_text("old")
    killed(
        """
files._swap = lambda one, other: False
rename = Path.rename
def fatal(self, place):
    done = rename(self, place)
    if str(place).endswith(".old"):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Path.rename = fatal
with files.atomic_folder(Path(sys.argv[1]), force=True) as inside:
    (inside / "manifest.json").write_text("new")
""",
        target,
    )
    assert not target.exists()
    remove_litter(target)
    assert (target / "manifest.json").read_text() == "old"
    assert names(tmp_path) == ["bundle"]


def test_hidden_name_says_its_use(tmp_path: Path) -> None:
    path = temporary_path(tmp_path / "a.txt", "old")
    assert path.name.startswith(".a.txt.")
    assert path.suffix == ".old"
    assert f"-{os.getpid()}-" in path.name


def test_device_pipe_and_long_name_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OutputError, match="is a pipe or a device"):
            files.check_target(place, force=True)
    with pytest.raises(OutputError, match="its name is too long"):
        files.check_target(tmp_path / ("x" * 240))
