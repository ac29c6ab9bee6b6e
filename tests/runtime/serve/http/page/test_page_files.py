"""The files of the page as they lie there: what they may not hold, what their colours must do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import c2t.runtime.serve.http

FOLDER = Path(c2t.runtime.serve.http.__path__[0]) / "page"
SCRIPTS = sorted(FOLDER.rglob("*.js"))
INDEX = (FOLDER / "index.html").read_text(encoding="utf-8")
# Ways to make markup or code of a string. The page uses none.
DANGEROUS = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "srcdoc"),
    *("eval(", "new Function", "DOMParser", "createContextualFragment", "setHTML"),
)
# Linear RGB as the colour-blind see it: Machado, Oliveira, Fernandes 2009, severity 1.
SEEN_AS = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]
GROUND = {"light": "ffffff", "dark": "161a1c"}


def linear(colours: list[str]) -> np.ndarray:
    """Colours [n] in hexadecimal digits as linear RGB [n, 3]."""
    values = np.array([[int(c[k : k + 2], 16) for k in (0, 2, 4)] for c in colours]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """Contrast of two colours (WCAG 2)."""
    low, high = sorted(linear([first, second]) @ [0.2126, 0.7152, 0.0722])
    return float((high + 0.05) / (low + 0.05))


def nearest(colours: list[str], seen_as: str) -> float:
    """Distance of the two nearest colours in OKLab, as someone sees them."""
    cones = np.clip(linear(colours) @ np.transpose(SEEN_AS[seen_as]), 0, 1) @ np.transpose(TO_CONES)
    places = np.cbrt(cones) @ np.transpose(TO_OKLAB)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    return float(apart[~np.eye(len(colours), dtype=bool)].min())


def colours_of(table: str, theme: str) -> list[str]:
    """Colours of a table of palette.js."""
    text = (FOLDER / "map" / "palette.js").read_text(encoding="utf-8")
    rest = text[text.index(f"const {table} = ") :]
    found = re.search(rf'{theme}:\s*"([0-9a-f ]+)"', rest)
    assert found is not None
    return found[1].split()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_of_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [words for words in DANGEROUS if words in text] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_what_is_there(path: Path) -> None:
    for name in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8")):
        assert name.startswith(".")
        assert (path.parent / name).resolve().is_relative_to(FOLDER.resolve())
        assert (path.parent / name).is_file()


def test_nothing_leads_to_another_host() -> None:
    for path in FOLDER.rglob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9]", re.sub(r"(?m)(^|\s)//.*", "", text)), path


def test_the_page_holds_no_script_and_no_style_that_its_policy_forbids() -> None:
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", INDEX)
    assert re.findall(r"<script[^>]*>", INDEX) == ['<script type="module" src="app.js">']


def test_ids_that_scripts_ask_for_are_there() -> None:
    ids = re.findall(r'\sid="([^"]+)"', INDEX)
    assert len(ids) == len(set(ids))
    asked = set()
    for path in SCRIPTS:
        asked |= set(re.findall(r'byId\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    assert len(asked) > 40
    assert asked <= set(ids)


def test_the_page_is_small() -> None:
    """All that a browser is sent, packed as it is sent."""
    pytest.importorskip("starlette")
    from c2t.runtime.serve.http.page_files import load_page

    sent = [file.body if file.gzipped is None else file.gzipped for file in load_page().values()]
    assert sum(map(len, sent)) < 100_000


def test_files_are_small() -> None:
    for path in FOLDER.rglob("*.*"):
        assert path.read_text(encoding="utf-8").count("\n") < 400, path


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("seen_as", SEEN_AS)
def test_colours_of_groups_are_apart_for_everybody(theme: str, seen_as: str) -> None:
    colours = colours_of("GROUPS", theme)
    assert len(colours) == 40
    for count, least in ((6, 0.15), (10, 0.09), (16, 0.07), (24, 0.05), (40, 0.035)):
        assert nearest(colours[:count], seen_as) > least


@pytest.mark.parametrize(("theme", "least"), [("light", 1.8), ("dark", 2.9)])
def test_colours_of_groups_stand_out_from_the_ground(theme: str, least: float) -> None:
    for colour in (*colours_of("GROUPS", theme), *colours_of("SCALE", theme)):
        assert contrast(colour, GROUND[theme]) > least


@pytest.mark.parametrize("seen_as", SEEN_AS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_ends_of_the_scale_are_far_apart_for_everybody(theme: str, seen_as: str) -> None:
    scale = colours_of("SCALE", theme)
    assert nearest([scale[0], scale[-1]], seen_as) > 0.25


WORDS_ON = [
    *(("ink", ground) for ground in ("paper", "card", "sunk", "accent-soft", "bad-soft", "mark")),
    *(("soft", ground) for ground in ("paper", "card", "sunk", "accent-soft", "warn-soft")),
    *(("accent", ground) for ground in ("paper", "card", "accent-soft")),
    *(("warn", "warn-soft"), ("warn", "card"), ("bad", "bad-soft"), ("bad", "card")),
    *(("accent-ink", "accent"), ("good", "sunk"), ("soft", "sunk")),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("words", "ground"), WORDS_ON)
def test_words_have_the_contrast_of_wcag_aa(theme: str, words: str, ground: str) -> None:
    text = (FOLDER / "style.css").read_text(encoding="utf-8")
    start = ":root {" if theme == "light" else ':root[data-theme="dark"] {'
    block = text[text.index(start) :].split("}")[0]
    found = dict(re.findall(r"--([a-z-]+): #([0-9a-f]{3,6});", block))
    full = {
        name: value if len(value) == 6 else "".join(2 * c for c in value)
        for name, value in found.items()
    }
    assert contrast(full[words], full[ground]) >= 4.5
