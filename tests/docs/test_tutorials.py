"""The tutorials run as they are written, in an empty folder, and show what is printed."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

import pytest
from site_schemas import validate
from tutorial_page import Piece, matches, pieces, run_page

import c2t

DOCS = Path(c2t.__file__).parent / "docs"
TUTORIALS = DOCS / "tutorials"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture(scope="module")
def practised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the first tutorial was done."""
    pytest.importorskip("torch", reason="torch is not installed: c2t[export]")
    pytest.importorskip("scanpy", reason="scanpy is not installed: c2t[demo]")
    mpl = pytest.importorskip("matplotlib", reason="matplotlib is not installed: c2t[scverse]")
    mpl.use("Agg")
    folder = tmp_path_factory.mktemp("tutorials")
    assert run_page(TUTORIALS / "first-cells.md", folder, port=free_port()) == 8
    return folder


@pytest.mark.slow
def test_first_cells(practised: Path) -> None:
    for name in ("cells.png", "labels.png", "report.html", "evidence.csv"):
        assert (practised / name).stat().st_size
    assert "B cell" in (practised / "report.html").read_text(encoding="utf-8")
    for name in ("manifest", "golden", "fields", "unsure"):
        validate(practised / "demo" / "bundle" / f"{name}.json", name)


@pytest.mark.slow
def test_own_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: c2t[export]")
    assert run_page(TUTORIALS / "own-checkpoint.md", tmp_path, port=free_port()) == 4
    assert (tmp_path / "bundle" / "manifest.json").is_file()


@pytest.mark.slow
def test_other_families(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: c2t[export]")
    pytest.importorskip("scanpy", reason="scanpy is not installed: c2t[demo]")
    assert run_page(TUTORIALS / "other-families.md", tmp_path, port=free_port()) == 17
    for family in ("sentences", "space"):
        validate(tmp_path / family / "bundle" / "manifest.json", "manifest")
    validate(tmp_path / "space" / "bundle" / "golden_vectors.json", "golden-vectors")


@pytest.mark.slow
def test_int8_then_plans(practised: Path) -> None:
    """In one test: the second goes on with what the first makes."""
    assert run_page(TUTORIALS / "int8.md", practised, port=free_port()) == 4
    validate(practised / "demo-int8" / "calibration.json", "calibration")
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: c2t[rtx]")
    assert run_page(TUTORIALS / "gpu-plans.md", practised, port=free_port()) == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_service(practised: Path) -> None:
    pytest.importorskip("starlette", reason="starlette is not installed: c2t[serve]")
    assert run_page(TUTORIALS / "service.md", practised, port=free_port()) == 9


@pytest.mark.slow
def test_the_readme_shows_what_the_demonstration_says(practised: Path) -> None:
    """Scores as in the first tutorial, which was compared; texts as that left them behind."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    shown = readme.split("```text\n")[1].split("```")[0]
    cells, scores = shown.split("cell type, 10 labels")
    page = (TUTORIALS / "first-cells.md").read_text(encoding="utf-8")
    lines = re.findall(r"^  .*%$", scores, re.MULTILINE)
    assert len(lines) == 3
    assert all(f"{line}\n" in page for line in lines)
    found = (practised / "demo" / "descriptions.jsonl").read_text(encoding="utf-8")
    texts = [json.loads(line)["text"] for line in found.splitlines()]
    parts: dict[str, list[str]] = {}
    for line in cells.splitlines()[2:-1]:
        if line[:33].strip(" …"):
            label = line[:33].strip()
        parts.setdefault(label, []).append(line[40:].strip(" …"))
    assert len(parts) == 2
    for words in parts.values():
        assert any(text.startswith(" ".join(filter(None, words))) for text in texts), words


def test_every_tutorial_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    names = {path.name for path in TUTORIALS.glob("*.md")} - {"index.md"}
    assert names == set(re.findall(r'TUTORIALS / "([a-z0-9-]+\.md)"', source))


def test_outputs_are_compared() -> None:
    assert matches("a …\n…\nend\n", "a long line\nmore\nand more\nend\n")
    assert matches("…\nend", "end")
    assert not matches("a\nb\n", "a\nx\nb\n")
    assert not matches("1 cell", "11 cells")


def test_pieces_of_a_page() -> None:
    page = (
        "```console\n$ one \\\n  more\nprinted\n$ two\n```\n\n```python\nx = 1\n```\n\n"
        "```text\n2\n```\n```json\n{}\n```\n"
    )
    assert list(pieces(page)) == [
        Piece("console", "one \\\n  more", "printed\n"),
        Piece("console", "two", None),
        Piece("python", "x = 1\n", "2\n"),
    ]
