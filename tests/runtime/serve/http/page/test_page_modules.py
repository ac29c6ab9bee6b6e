"""Modules of the page, one at a time, against what NumPy and Python's own csv say."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("playwright")
pytest.importorskip("prometheus_client")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from page_browser import OpenPage, Watched

from c2t.runtime.output.record import FIELD_COLUMNS
from c2t.runtime.serve.jobs.picture.blob import NONE, Columns, write_blob

CELLS = 5000


@pytest.fixture
def page(open_page: OpenPage, service: str) -> Watched:
    return open_page(service)


@pytest.fixture(scope="module")
def columns() -> Columns:
    draw = np.random.default_rng(3)
    confidence = draw.uniform(0, 1, CELLS).round(2).astype(np.float32)
    confidence[::7] = np.nan
    group = draw.integers(0, 4, CELLS).astype(np.uint16)
    group[::11] = NONE
    x, y = draw.normal(0, 3, (2, CELLS)).astype(np.float32)
    x[5], y[9] = np.nan, np.inf
    return Columns(
        cells=CELLS,
        arrays={
            "x": x,
            "y": y,
            "cell_type": group,
            "confidence": confidence,
            "cell_type_confidence": confidence[::-1].copy(),
            "error": (np.arange(CELLS) % 13 == 0).astype(np.uint8),
        },
        categories={"cell_type": ["b", "a", "ö", "__proto__"]},
        scatter="obsm X_umap",
    )


@pytest.fixture
def blob(columns: Columns, tmp_path: Path) -> str:
    """The columns in the service's own format, in base64."""
    write_blob(tmp_path / "columns", columns)
    return base64.b64encode((tmp_path / "columns").read_bytes()).decode()


def run(page: Watched, code: str, argument: Any = None) -> Any:
    """The value of a body of a function of `given`, in which `load` imports a module."""
    body = (
        "async (given) => { const load = (name) => import(`/${name}.js`);"
        " const open = async (text) => (await load('results/dataset')).readColumns("
        f"Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer); {code} }}"
    )
    return page.page.evaluate(body, argument)


def test_columns_are_read_and_grouped(page: Watched, columns: Columns, blob: str) -> None:
    found = run(
        page,
        "const data = await open(given);"
        " const { list, rows } = data.grouping('cell_type');"
        " return { cells: data.cells, places: data.places.count,"
        " list: list.map((group) => ({...group, rows: Array.from(rows(group.code))})) };",
        blob,
    )
    codes, confidence = columns.arrays["cell_type"], columns.arrays["confidence"]
    assert found["cells"] == CELLS
    assert found["places"] == CELLS - 2
    assert len(found["list"]) == 5
    assert [group["count"] for group in found["list"]] == sorted(
        (group["count"] for group in found["list"]), reverse=True
    )
    for group in found["list"]:
        rows = np.flatnonzero(codes == group["code"])
        assert group["rows"] == rows.tolist()
        assert group["median"] == pytest.approx(np.nanmedian(confidence[rows]), abs=1e-6)
        known = group["code"] != NONE
        names = columns.categories["cell_type"]
        assert group["name"] == (names[group["code"]] if known else None)


@pytest.mark.parametrize("cut", [0, 7, 11, 40, -8])
def test_damaged_columns_are_refused(page: Watched, blob: str, cut: int) -> None:
    damaged = base64.b64encode(base64.b64decode(blob)[:cut]).decode()
    code = "try { await open(given); } catch (error) { return [error.message, error.hint]; }"
    problem, hint = run(page, code, damaged)
    assert problem == "the columns of this job are not what they should be"
    assert hint


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("by", ["confidence", "cell_type_confidence", "cell_type", "error"])
def test_shown_cells_are_in_order(
    page: Watched, columns: Columns, blob: str, by: str, falling: bool
) -> None:
    found = run(
        page,
        "const { Shown } = await load('results/shown');"
        " const shown = new Shown(await open(given[0])); shown.sort(given[1]);"
        " if (given[2]) shown.sort(given[1]); return Array.from(shown.rows);",
        [blob, by, falling],
    )
    if by == "cell_type":
        rank = np.array([2, 1, 3, 0])  # of b, a, ö, __proto__, as people sort them
        codes = columns.arrays[by]
        keys = np.where(codes == NONE, np.nan, rank[np.minimum(codes, 3)])
    elif by == "error":
        keys = 1.0 - columns.arrays[by]
    else:
        keys = columns.arrays[by].astype(float).round(6)
    lacking = np.isnan(keys)
    order = np.lexsort((np.arange(CELLS), -keys if falling else keys, lacking))
    assert found == order.tolist()


def test_filters_narrow_together(page: Watched, blob: str) -> None:
    found = run(
        page,
        "const { Shown } = await load('results/shown'); const shown = new Shown(await open(given));"
        " shown.keepRows('a', 'even', Array.from({length: 2500}, (_, k) => 2 * k));"
        " shown.keepRows('b', 'third', Array.from({length: 1667}, (_, k) => 3 * k));"
        " const both = Array.from(shown.rows); shown.release('a');"
        " return [both, shown.count, shown.mask[3]];",
        blob,
    )
    assert found == [list(range(0, CELLS, 6)), 1667, 1]


def test_a_polygon_holds_what_the_even_odd_rule_says(
    page: Watched, columns: Columns, blob: str
) -> None:
    star = [[0, 5], [-3, -4], [5, 2], [-5, 2], [3, -4]]  # crosses itself
    found = run(
        page,
        "const { inside } = await load('map/region'); const { places } = await open(given[0]);"
        " return inside(places, given[1]).map((k) => places.rows[k]).sort((a, b) => a - b);",
        [blob, star],
    )
    x, y = columns.arrays["x"].astype(float), columns.arrays["y"].astype(float)
    odd = np.zeros(CELLS, bool)
    for (ax, ay), (bx, by) in zip(star, star[1:] + star[:1], strict=True):
        crosses = (ay > y) != (by > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            odd ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    expected = np.flatnonzero(odd & np.isfinite(x) & np.isfinite(y))
    assert 100 < len(expected) < CELLS
    assert found == expected.tolist()


PAINT = """
const { Painter } = await load('map/paint');
const painter = new Painter();
painter.resize(20, 10);
const colours = Array.from({length: 256}, () => [0, 0, 0]);
colours[1] = [200, 0, 0];
const { data } = painter.image;
const at = (px, py) => Array.from(data.slice((py * 20 + px) * 4, (py * 20 + px) * 4 + 4));
const paint = (x, y, codes, mask) => painter.paint(
  { x: Float32Array.from(x), y: Float32Array.from(y), count: x.length }, { x: 0, y: 0, scale: 2 },
  { codes: Uint8Array.from(codes), mask, colours, size: x.length > 9 ? 1 : 0.3,
    ground: [255, 255, 255], dim: [220, 220, 220] });
"""


def test_a_few_points_are_discs(page: Watched) -> None:
    """Where each is, its colour, who is found there, and who is left out."""
    found = run(
        page,
        PAINT
        + """const inside = paint([0, 2, 2, -30], [0, 1, 1, 0], [0, 1, 1, 1], null);
        const all = [at(10, 5), at(14, 3), at(0, 0)];
        const who = [painter.at(11, 6, 3), painter.at(14, 3, 3), painter.at(1, 1, 3)];
        paint([0, 2, 2, -30], [0, 1, 1, 0], [0, 1, 1, 1], Uint8Array.of(1, 0, 0, 0));
        return { inside, all, who, left: at(14, 3), kept: at(10, 5) };""",
    )
    black, red, empty = found["all"]
    assert found["inside"] == 3
    assert max(black[:3]) < 140
    assert red[0] > 150 > red[1] == red[2]
    assert empty == [255, 255, 255, 255]
    assert found["who"] == [0, 2, None]
    assert found["kept"] == black
    red_left = found["left"]
    assert red_left[0] == red_left[1] == red_left[2]
    assert 215 < red_left[0] < 250


def test_many_points_are_pixels_that_tell_how_many(page: Watched) -> None:
    found = run(
        page,
        PAINT
        + """const many = 400_000;
        const place = (k) => (k < 3 ? k : 0);  // one at each of two places, the others at a third
        const x = Array.from({length: many}, (_, k) => place(k));
        const inside = paint(x, x.map(() => 0), x.map(() => 1), null);
        return { inside, all: [at(10, 5), at(12, 5), at(14, 5), at(13, 5)],
          who: [painter.at(12, 5, 0), painter.at(14, 5, 0)] };""",
    )
    crowd, one, other, nobody = found["all"]
    assert found["inside"] == 400_000
    assert crowd == [200, 0, 0, 255]
    assert one == other
    assert crowd[1] < one[1] < 255
    assert nobody == [255, 255, 255, 255]
    assert found["who"] == [1, 2]


AWKWARD: list[dict[str, Any]] = [
    {"cell": 'a"b', "text": "one, two\nthree", "confidence": 1.0, "cell_type_confidence": 0.0},
    {"cell": "", "text": None, "confidence": None, "cell_type_confidence": None},
    {"cell": "=1+1", "text": "ü €", "confidence": 0.00002, "cell_type_confidence": 1e-05},
    {"cell": "x", "text": " space ", "confidence": 0.12345, "cell_type_confidence": 0.0001},
]


def test_csv_is_written_as_python_writes_it(page: Watched) -> None:
    said = dict.fromkeys(FIELD_COLUMNS) | {"cell_type": 'T cell, "CD4"', "pathways": "a; b"}
    records = [{**record, "genes_used": 5, "error": None, **said} for record in AWKWARD]
    code = (
        "const { csvLine } = await load('results/export');"
        " return JSON.parse(given).map(csvLine).join('');"
    )
    found = run(page, code, json.dumps(records))
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(list(record.values()) for record in records)
    assert found == lines.getvalue()


def test_zooming_keeps_what_is_under_the_pointer(page: Watched) -> None:
    found = run(
        page,
        "const { View } = await load('map/view'); const view = new View(); view.resize(300, 200);"
        " view.fit({ left: -1, right: 3, low: 0, high: 2 }); const before = view.toPlane(40, 150);"
        " view.zoom(3, 40, 150); const after = view.toPlane(40, 150);"
        " return [before, after, view.toPixels(...after)];",
    )
    assert found[0] == pytest.approx(found[1])
    assert found[2] == pytest.approx([40, 150])


def test_half_events_are_put_together(page: Watched) -> None:
    """A stream that is cut anywhere gives the same events."""
    found = run(
        page,
        """const { events } = await load('api');
        const text = ['id: 1', 'event: progress', 'data: {"a": "é"}', '', ': alive', '',
          'id: 2', 'event: done', 'data: {}', '', ''].join('\\n');
        const bytes = new TextEncoder().encode(text);
        const real = globalThis.fetch;
        const all = [];
        for (let cut = 1; cut < bytes.length; cut += 1) {
          globalThis.fetch = async () => new Response(new ReadableStream({ start(stream) {
            stream.enqueue(bytes.slice(0, cut));
            stream.enqueue(bytes.slice(cut));
            stream.close();
          } }));
          const got = []; for await (const event of events('/', {})) got.push(event);
          all.push(JSON.stringify(got));
        }
        globalThis.fetch = real; return [...new Set(all)];""",
    )
    assert len(found) == 1
    assert json.loads(found[0]) == [
        {"id": "1", "event": "progress", "data": {"a": "é"}},
        {"id": "2", "event": "done", "data": {}},
    ]
