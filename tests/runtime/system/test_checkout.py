"""The commit of a checkout, as git itself says it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from c2t.runtime.system.checkout import checkout_commit


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=c2t", "-c", "user.email=c2t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "file").write_text("1")
    git(folder, "add", "file")
    git(folder, "commit", "-q", "-m", "One")
    return folder


def test_it_is_gits_own(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert checkout_commit(checkout) == commit
    git(checkout, "worktree", "add", "-q", "-b", "other", "../second")
    assert checkout_commit(checkout.parent / "second") == commit
    git(checkout, "pack-refs", "--all")
    assert checkout_commit(checkout) == commit
    assert checkout_commit(checkout.parent / "second") == commit
    git(checkout, "checkout", "-q", "--detach")
    assert checkout_commit(checkout) == commit


def test_there_may_be_none(tmp_path: Path, checkout: Path) -> None:
    assert checkout_commit(tmp_path / "nothing") is None
    (checkout / ".git/HEAD").write_text("ref: refs/heads/gone")
    assert checkout_commit(checkout) is None
    (checkout / ".git/HEAD").write_bytes(b"\xff\xfe")
    assert checkout_commit(checkout) is None
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    git(fresh, "init", "-q")
    assert checkout_commit(fresh) is None
