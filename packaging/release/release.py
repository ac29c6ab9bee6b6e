"""Make a release, but publish nothing: python packaging/release/release.py [--dry-run].

1. The tree is clean, all versions agree, manual pages are current, the changelog has the version's
   heading with a date, and nothing is left under "Unreleased".
2. sdist and wheels are built (`packaging/wheels/build.sh`), and looked into.
3. Each wheel is installed in an empty environment, describes cells, and runs tests there
   (`packaging/wheels/check.py`); with its extras it runs `c2t demo` (`demo_check.sh`).
4. `dist/SHA256SUMS` is written, and the commit is tagged.

A dry run does the first step, and says what the others would run. docs/how-to/release.md has the
rest.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where PYTHONSAFEPATH is set
versions = importlib.import_module("versions")

ROOT = Path(__file__).resolve().parents[2]
PROCESSORS = ("x86_64", "aarch64")
SUMS = "SHA256SUMS"
# What a wheel must hold besides Python files, and what must not be in it.
IN_WHEEL = (
    "c2t/kernels/libc2t_kernels.so",
    "c2t/examples/demo/checkpoint/projector.safetensors",
    "c2t/docs/how-to/problems.md",
    "c2t/py.typed",
    "share/man/man1/c2t.1",
    "licenses/LICENSE",
)
NOT_IN_WHEEL = ("c2t/tests/", "c2t/benchmarks/", "c2t/docs/site/", ".cpp", ".git")
IN_SDIST = ("pyproject.toml", "kernels/CMakeLists.txt", "packaging/man/man1/c2t.1", "LICENSE")


def git(root: Path, *words: str) -> str:
    """What a git command prints."""
    done = subprocess.run(["git", *words], cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {shlex.join(words)} failed in {root}")
    return done.stdout.strip()


def problems(root: Path, version: str) -> list[str]:
    """All that stands between this checkout and a release, each with what to do."""
    found = []
    if git(root, "status", "--porcelain"):
        found.append("the tree is not clean: commit, or remove, what `git status` shows")
    if git(root, "tag", "--list", f"v{version}"):
        found.append(f"the tag v{version} is there already: python packaging/release/versions.py")
    for place in versions.places(root):
        if place.version != version:
            where = f"{place.path}:{place.line} has version {place.version}, not {version}"
            found.append(f"{where}: python packaging/release/versions.py {version}")
    found += changelog_problems((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    dist = root / "dist"
    if dist.is_dir() and any(dist.iterdir()):
        found.append("dist/ holds files of an earlier build: move them away")
    return found


def changelog_problems(text: str, version: str) -> list[str]:
    """What the changelog lacks."""
    sections = {
        match[1]: match[2]
        for match in re.finditer(r"^## (.+)\n((?:(?!## ).*\n?)*)", text, re.MULTILINE)
    }
    found = []
    heading = re.compile(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d")
    bodies = [body for name, body in sections.items() if heading.fullmatch(name)]
    if not bodies:
        found.append(f'CHANGELOG.md has no heading "## {version} - YEAR-MONTH-DAY"')
    elif "\n- " not in bodies[0]:
        found.append(f"CHANGELOG.md says nothing about {version}")
    if "\n- " in sections.get("Unreleased", ""):
        found.append(f'CHANGELOG.md has entries under "Unreleased": move them to {version}')
    return found


def built_problems(dist: Path, version: str) -> list[str]:
    """What is wrong with the files that were built."""
    wheels = [dist.glob(f"c2t-{version}-py3-none-manylinux*_{p}.whl") for p in PROCESSORS]
    paths = [path for found in wheels for path in found]
    sdist = dist / f"c2t-{version}.tar.gz"
    found = []
    if len(paths) != len(PROCESSORS) or not sdist.is_file():
        there = ", ".join(path.name for path in sorted(dist.iterdir()))
        found.append(f"not an sdist and a wheel for each of {', '.join(PROCESSORS)}: {there}")
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            found += contents_problems(path.name, wheel.namelist(), IN_WHEEL, NOT_IN_WHEEL)
            metadata = wheel.read(f"c2t-{version}.dist-info/METADATA").decode()
        if f"\nVersion: {version}\n" not in metadata:
            found.append(f"the metadata of {path.name} have another version")
    if sdist.is_file():
        with tarfile.open(sdist) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
        found += contents_problems(sdist.name, names, IN_SDIST, (".git/", ".venv"))
    return found


def contents_problems(
    archive: str, names: list[str], needed: tuple[str, ...], unwanted: tuple[str, ...]
) -> list[str]:
    """What an archive lacks, and what it should not have."""
    lacks = [end for end in needed if not any(name.endswith(end) for name in names)]
    more = [name for name in names if any(part in name for part in unwanted)]
    return [
        *(f"{archive} has no {end}" for end in lacks),
        *(f"{archive} has {name}, which belongs to no release" for name in more),
    ]


def write_sums(dist: Path) -> Path:
    """Write the SHA-256 of every other file, as `sha256sum --check` reads it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(dist.iterdir())
        if path.name != SUMS
    ]
    target = dist / SUMS
    target.write_text("".join(lines), encoding="utf-8", newline="\n")
    return target


def commands(version: str) -> list[list[str]]:
    """What is run, in order, in the root of the checkout; the last one tags."""
    python = sys.executable
    return [
        [python, "-P", "-m", "pytest", "-q", "tests/packaging", "tests/runtime/bundle"],
        ["bash", "packaging/wheels/build.sh", *PROCESSORS],
        [python, "packaging/wheels/check.py", *PROCESSORS],
        ["bash", "packaging/release/demo_check.sh"],
        ["git", "tag", "--annotate", f"v{version}", "--message", f"c2t {version}"],
    ]


def stop_on(found: list[str]) -> None:
    """End with all problems."""
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found:
        sys.exit(1)


def main() -> None:
    """Make a release, or say what would be done."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--dry-run", action="store_true", help="check, build and tag nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    options = parser.parse_args()
    root, version = options.root.resolve(), versions.one_version(options.root)
    stop_on(problems(root, version))
    steps = commands(version)

    def after_build() -> None:
        stop_on(built_problems(root / "dist", version))

    def before_tag() -> None:
        print(f"wrote {write_sums(root / 'dist')}")

    between: dict[int, Callable[[], None]] = {1: after_build, len(steps) - 2: before_tag}
    for number, step in enumerate(steps):
        print(f"{'would run' if options.dry_run else 'running'}: {shlex.join(step)}", flush=True)
        if not options.dry_run:
            subprocess.run(step, cwd=root, check=True)
            between.get(number, lambda: None)()
    if options.dry_run:
        print(f"c2t {version} can be released from {git(root, 'rev-parse', '--short', 'HEAD')}")
    else:
        print(f"c2t {version} is in dist/, and tagged.")
        print("Nothing was published: see docs/how-to/release.md")


if __name__ == "__main__":
    main()
