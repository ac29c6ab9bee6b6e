"""The version of c2t, and every place that repeats it.

    python packaging/release/versions.py [VERSION]

`__version__` of `__init__.py` is the one place: the package's metadata, the command line and
bundles take it from there. Files that other tools read cannot. This says where they differ, or
writes a new version into all of them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = r"\d+\.\d+\.\d+"  # CMake and SiLA 2 take no other form
ONE_PLACE = ("__init__.py", r'^__version__ = "({})"$')
NF_CORE = "packaging/nf-core/modules/nf-core/c2t/describe"
# A file, and the text around the version; a file may have several such lines.
REPEATED = (
    ("CITATION.cff", r"^version: ({})$"),
    ("capi/CMakeLists.txt", r"^project\(c2t VERSION ({})(?= )"),
    ("capi/src/base/base.h", r'^#define C2T_VERSION "({})"$'),
    ("packaging/conda/recipe.yaml", r"^  version: ({})$"),
    ("packaging/docker/Dockerfile", r"\bc2t:({})(?= )"),
    ("packaging/docker/Dockerfile", r'image\.version="({})"'),
    ("packaging/galaxy/macros.xml", r'name="@TOOL_VERSION@">({})<'),
    (f"{NF_CORE}/environment.yml", r"- c2t=({})$"),
    (f"{NF_CORE}/main.nf", r'container "c2t:({})"'),
    (f"{NF_CORE}/tests/main.nf.test", r'"c2t: ({})"'),
)
# Pages that name the image in a command; they may have none.
PAGES = r"\bc2t:({})(?= )"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One version in one file.

    Attributes:
        path: The file, below the root.
        line: Its line, from 1.
        version: What it says.
    """

    path: str
    line: int
    version: str


def pattern(around: str) -> re.Pattern[str]:
    """A pattern whose group 1 is the version."""
    return re.compile(around.replace("{}", VERSION), re.MULTILINE)


def one_version(root: Path = ROOT) -> str:
    """The version of the package.

    Raises:
        SystemExit: `__init__.py` does not say it in the one form that is read.
    """
    path, around = ONE_PLACE
    found = pattern(around).findall((root / path).read_text(encoding="utf-8"))
    if len(found) != 1:
        sys.exit(f'{path} has {len(found)} lines like `__version__ = "1.2.3"`, not one')
    return str(found[0])


def repeated(root: Path = ROOT) -> list[tuple[str, str]]:
    """Each file that may repeat the version, and the text around it."""
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [*REPEATED, *((str(page.relative_to(root)), PAGES) for page in pages)]


def places(root: Path = ROOT) -> Iterator[Place]:
    """Every place that repeats the version.

    Raises:
        SystemExit: A file has no such place any more.
    """
    for path, around in repeated(root):
        text = (root / path).read_text(encoding="utf-8")
        found = [*pattern(around).finditer(text)]
        if not found and around != PAGES:
            sys.exit(f"{path} has no version like {around}: mend packaging/release/versions.py")
        for match in found:
            line = text.count("\n", 0, match.start(1)) + 1
            yield Place(path=path, line=line, version=match[1])


def write_version(version: str, root: Path = ROOT) -> None:
    """Write the version into every place."""
    for path, around in (ONE_PLACE, *repeated(root)):
        file = root / path
        text = file.read_text(encoding="utf-8")
        pieces, end = [], 0
        for match in pattern(around).finditer(text):
            pieces += [text[end : match.start(1)], version]
            end = match.end(1)
        file.write_text("".join([*pieces, text[end:]]), encoding="utf-8", newline="")


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("version", nargs="?", help="write this one everywhere")
    wanted = parser.parse_args().version
    if wanted is not None:
        if re.fullmatch(VERSION, wanted) is None:
            sys.exit(f"{wanted!r} is no version such as 0.2.0")
        write_version(wanted)
    version = one_version()
    wrong = [place for place in places() if place.version != version]
    for place in wrong:
        print(f"{place.path}:{place.line}: {place.version}, not {version}")
    if wrong:
        sys.exit(f"write it everywhere: python packaging/release/versions.py {version}")
    print(version)


if __name__ == "__main__":
    main()
