"""The release script: what it refuses, its dry run, and what it says of files that were built."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaged import PACKAGING, ROOT, load_script

import c2t

RELEASE = load_script("release/release.py")
VERSION = c2t.__version__
CHANGELOG = f"# Changelog\n\n## Unreleased\n\n## {VERSION} - 2026-12-01\n\n### Added\n- All.\n"


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=c2t", "-c", "user.email=c2t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the files that the script looks at."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "checkout"
    for path in {"__init__.py", *(path for path, _ in RELEASE.versions.repeated())}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / ".gitignore").write_text("/dist/\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "All")
    return folder


def release(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = PACKAGING / "release/release.py"
    return subprocess.run(
        [sys.executable, "-P", script, "--root", folder, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
        check=False,
    )


def test_a_dry_run_says_what_it_would_do_and_does_nothing(checkout: Path) -> None:
    before = sorted(checkout.rglob("*"))
    done = release(checkout, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert [line.startswith("would run: ") for line in said] == [True] * 5 + [False]
    for line, words in zip(said, RELEASE.commands(VERSION), strict=False):
        scripts = [word for word in words if word.startswith("packaging/")]
        assert all((ROOT / script).is_file() and script in line for script in scripts)
    assert said[-2].startswith(f"would run: git tag --annotate v{VERSION} ")
    assert said[-1].startswith(f"c2t {VERSION} can be released from ")
    assert sorted(checkout.rglob("*")) == before
    assert git(checkout, "tag") == ""
    assert git(checkout, "status", "--porcelain") == ""


def test_everything_that_is_wrong_is_said_at_once(checkout: Path) -> None:
    git(checkout, "tag", f"v{VERSION}")
    text = (checkout / "CITATION.cff").read_text()
    (checkout / "CITATION.cff").write_text(text.replace(f"version: {VERSION}", "version: 9.9.9"))
    (checkout / "CHANGELOG.md").write_text(
        CHANGELOG.replace(" - 2026-12-01", "").replace("Unreleased\n", "Unreleased\n\n- New.\n")
    )
    (checkout / "dist").mkdir()
    (checkout / "dist/old.whl").touch()
    done = release(checkout, "--dry-run")
    assert done.returncode == 1
    assert done.stdout == ""
    said = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in said)
    for part in (
        *("the tree is not clean", f"the tag v{VERSION} is there", "CITATION.cff:5 has version"),
        *(f'no heading "## {VERSION} - ', 'entries under "Unreleased"', "dist/ holds files"),
    ):
        assert sum(part in line for line in said) == 1, part
    assert len(said) == 6


def test_an_empty_section_is_no_changelog() -> None:
    text = CHANGELOG.replace("- All.", "")
    assert RELEASE.changelog_problems(text, VERSION) == [
        f"CHANGELOG.md says nothing about {VERSION}"
    ]
    assert RELEASE.changelog_problems(CHANGELOG, VERSION) == []
    assert len(RELEASE.changelog_problems(CHANGELOG, "9.0.0")) == 1


def make_archives(dist: Path, *, leave_out: str = "", more: str = "") -> None:
    """Archives with the names of those of a release."""
    dist.mkdir(exist_ok=True)
    for processor in RELEASE.PROCESSORS:
        name = f"c2t-{VERSION}-py3-none-manylinux2014_{processor}.manylinux_2_17_{processor}.whl"
        with zipfile.ZipFile(dist / name, "w") as wheel:
            for path in {*RELEASE.IN_WHEEL, *filter(None, [more])} - {leave_out}:
                wheel.writestr(path, "")
            wheel.writestr(f"c2t-{VERSION}.dist-info/METADATA", f"Name: c2t\nVersion: {VERSION}\n")
    with tarfile.open(dist / f"c2t-{VERSION}.tar.gz", "w:gz") as archive:
        for path in RELEASE.IN_SDIST:
            archive.addfile(tarfile.TarInfo(f"c2t-{VERSION}/{path}"), io.BytesIO())


def test_archives_are_looked_into(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    make_archives(dist)
    assert RELEASE.built_problems(dist, VERSION) == []
    make_archives(dist, leave_out="c2t/py.typed", more="c2t/tests/x.py")
    found = RELEASE.built_problems(dist, VERSION)
    assert [line.partition(" has ")[2] for line in found] == 2 * [
        "no c2t/py.typed",
        "c2t/tests/x.py, which belongs to no release",
    ]
    (dist / f"c2t-{VERSION}.tar.gz").unlink()
    assert RELEASE.built_problems(dist, VERSION)[0].startswith("not an sdist and a wheel for each")


def test_the_sums_are_sha256sums(tmp_path: Path) -> None:
    make_archives(tmp_path)
    sums = RELEASE.write_sums(tmp_path)
    assert len(sums.read_text().splitlines()) == 3
    assert RELEASE.write_sums(tmp_path).read_text() == sums.read_text()
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    subprocess.run(["sha256sum", "--check", "--strict", sums.name], cwd=tmp_path, check=True)


def test_the_page_names_files_that_are_there() -> None:
    page = (ROOT / "docs/how-to/release.md").read_text(encoding="utf-8")
    named = set(re.findall(r"packaging/[\w/.]+", page))
    assert len(named) >= 6
    assert all((ROOT / path).is_file() for path in named), named
    for script in ("build.sh", "check.py", "demo_check.sh"):
        steps = " ".join(" ".join(words) for words in RELEASE.commands(VERSION))
        assert script in steps
        assert script in page
