"""Draw, move and search a million cells on the page, in a browser without a graphics card.

Run `python benchmarks/page_points.py -o benchmarks/results/page_points.json`. The cells are made by
script: points around centres, with types and confidences. What is drawn is checked before it is
timed: every point is on the map, and the point under a pixel is one that lies there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from c2t.runtime.serve.http.page_files import HEADERS, PageFile, load_page
from c2t.runtime.serve.jobs.picture.blob import Columns, write_blob

SEED = 20261129
TYPES = 30
WIDTH, HEIGHT = 1000, 700  # of the map, in pixels
FRAMES = 60  # of each kind of movement
JOB = "0" * 32
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Opens the columns in modules of the page, and makes a map of its own, to be moved.
OPEN = """async ([job, width, height, frames]) => {
  const { readColumns } = await import("/results/dataset.js");
  const { CellMap } = await import("/map/map.js");
  const { palette } = await import("/map/palette.js");
  const { colourByGroup } = await import("/results/legend.js");
  const { inside } = await import("/map/region.js");
  const timed = async (work) => {
    const begun = performance.now();
    const value = await work();
    return [performance.now() - begun, value];
  };
  const fetched = await (await fetch(`/v1/jobs/${job}/columns`)).arrayBuffer();
  const [readMs, data] = await timed(() => readColumns(fetched));
  const [groupMs, look] = await timed(() => colourByGroup(data, "cell_type"));
  const box = document.createElement("div");
  box.style.cssText = `position:fixed;left:0;top:0;width:${width}px;height:${height}px;z-index:99`;
  box.append(document.createElement("canvas"), document.createElement("canvas"));
  document.body.append(box);
  const map = new CellMap(box, data);
  map.colour({ codes: look.codes, colours: palette("light"), column: "cell_type",
    ground: [255, 255, 255], dim: [226, 229, 230], ink: [0, 0, 0] });
  const frame = () => new Promise((done) => requestAnimationFrame(() => {
    const begun = performance.now();
    map.drawNow();
    done(performance.now() - begun);
  }));
  const next = () => new Promise((done) => requestAnimationFrame(done));
  const nearer = (k) => (k < frames / 2 ? 1.09 : 1 / 1.09);
  const moves = {
    pan: (k) => map.view.pan(k % 2 ? 17 : -13, k % 3 ? 7 : -11),
    zoom: (k) => map.view.zoom(nearer(k), width / 3, height / 3),
    highlight: (k) => map.view.pan(k % 2 ? 17 : -13, 0),
  };
  const run = async (kind) => {
    const mask = new Uint8Array(data.cells);
    for (const row of data.grouping("cell_type").rows(0)) mask[row] = 1;
    map.show(kind === "highlight" ? mask : null);
    map.view.fit(map.points);
    const [drawn, shown] = [[], []];
    for (let k = 0; k < frames; k += 1) {
      moves[kind](k);
      const before = performance.now();
      drawn.push(await frame());
      await next(); // the browser has put it on the screen
      shown.push(performance.now() - before);
    }
    return { drawn, shown };
  };
  const pick = async () => {
    map.show(null);
    map.view.fit(map.points);
    map.drawNow();
    const found = [];
    for (let k = 0; k < 1000; k += 1) {
      found.push((await timed(() => map.rowAt((k * 97) % width, (k * 61) % height)))[0]);
    }
    return found;
  };
  const lasso = async () => {
    const corner = (k) => [10 * Math.cos(k / 19), 10 * Math.sin(k / 19)];
    const ring = Array.from({ length: 120 }, (_, k) => corner(k));
    const found = [];
    for (let k = 0; k < 9; k += 1) found.push((await timed(() => inside(map.points, ring)))[0]);
    return found;
  };
  globalThis.bench = { run, pick, lasso };
  await frame();
  const everyone = map.inside;
  const reach = everyone > 300_000 ? 1 : everyone > 30_000 ? 2.5 : 8; // the fewer, the larger
  let wrong = 0;
  for (let pixel = 0; pixel < map.painter.seen.length; pixel += 1) {
    const k = map.painter.seen[pixel];
    if (k < 0) continue;
    const [px, py] = map.view.toPixels(map.points.x[k], map.points.y[k]);
    const away = Math.hypot(px - 0.5 - (pixel % width), py - 0.5 - Math.floor(pixel / width));
    if (away > reach) wrong += 1;
  }
  for (const kind in moves) await run(kind); // the browser compiles what it sees often
  return { readMs, groupMs, everyone, wrong, bytes: fetched.byteLength };
}"""


def columns(cells: int) -> Columns:
    """Points around `TYPES` centres, some in every direction."""
    draw = np.random.default_rng(SEED)
    centres = draw.uniform(-12, 12, (TYPES, 2))
    code = draw.choice(TYPES, cells, p=draw.dirichlet(np.ones(TYPES))).astype(np.uint16)
    places = (centres[code] + draw.normal(0, 1.1, (cells, 2))).astype(np.float32)
    confidence = draw.beta(9, 1, cells).astype(np.float32)
    return Columns(
        cells=cells,
        arrays={
            "x": places[:, 0].copy(),
            "y": places[:, 1].copy(),
            "cell_type": code,
            "confidence": confidence,
            "cell_type_confidence": confidence,
            "error": np.zeros(cells, np.uint8),
        },
        categories={"cell_type": [f"cell type {number}" for number in range(TYPES)]},
        scatter="points made by script",
    )


def lines(cells: int, first: int, count: int) -> bytes:
    """Records as the service sends them."""
    text = (
        b"This sample consists of a cell type, with words as long as those of a paper's caption. "
    )
    line = (
        b'{"cell":"cell%d","text":"' + 3 * text + b'%d","confidence":0.9,'
        b'"cell_type_confidence":0.8,"genes_used":900,"error":null}\n'
    )
    return b"".join(line % (row, row) for row in range(first, min(first + count, cells)))


class Door(ThreadingHTTPServer):
    """The page's files, and one job of made cells."""

    daemon_threads = True

    def __init__(self, cells: int, blob: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cells, self.blob, self.files = cells, blob, load_page()
        self.sent: dict[str, int] = {}


class Handler(BaseHTTPRequestHandler):
    """Answers for a `Door`."""

    protocol_version = "HTTP/1.1"
    server: Door

    def do_GET(self) -> None:
        """Answer."""
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path in self.server.files:
            file: PageFile = self.server.files[address.path]
            self.server.sent[address.path] = len(file.body)
            self._send(file.body, file.media_type)
        elif address.path.endswith("/columns"):
            self._send(self.server.blob, "application/octet-stream")
        elif address.path.endswith("/results"):
            body = lines(self.server.cells, int(query["first"]), int(query["count"]))
            self._send(body, "application/jsonl")
        elif address.path == f"/v1/jobs/{JOB}":
            self._send(json.dumps(self._job()).encode(), "application/json")
        else:
            bundle = {"name": "none", "digest": "0" * 64, "precision": "fp32", "engine": None}
            self._send(json.dumps(bundle).encode(), "application/json")

    def _job(self) -> dict[str, Any]:
        cells = self.server.cells
        return {
            **{"id": JOB, "state": "done", "name": "made.h5ad", "cells": cells, "done": cells},
            **{"settings": {"counts_are": "auto"}, "created": "2026-01-01T00:00:00Z"},
            **{"failed_cells": 0, "notes": [], "warnings": [], "problem": None, "formats": []},
        }

    def _send(self, body: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(cells: int) -> Iterator[Door]:
    """A `Door` that answers until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        write_blob(Path(folder) / "columns", columns(cells))
        door = Door(cells, (Path(folder) / "columns").read_bytes())
    thread = threading.Thread(target=door.serve_forever)
    thread.start()
    try:
        yield door
    finally:
        door.shutdown()
        thread.join()
        door.server_close()


def summary(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    return {
        "median_ms": round(statistics.median(values), 2),
        "p95_ms": round(statistics.quantiles(values, n=20)[-1], 2),
    }


def renderer() -> psutil.Process:
    """The process that renders the page: the largest of its kind."""
    children = psutil.Process().children(recursive=True)
    rendering = [child for child in children if "--type=renderer" in child.cmdline()]
    return max(rendering, key=lambda process: process.memory_info().rss)


def busy_seconds() -> float:
    """Processor time of the thread that runs the page's scripts and puts pixels on the screen."""
    process = renderer()
    main = next(thread for thread in process.threads() if thread.id == process.pid)
    return float(main.user_time + main.system_time)


def measure(page: Page, door: Door, url: str) -> dict[str, Any]:
    """Open the job, then move a map of it."""
    page.goto("about:blank")
    page.goto(f"{url}/")
    page.wait_for_timeout(500)
    begun = page.evaluate("performance.now()")
    page.evaluate(f"location.hash = '#/jobs/{JOB}'")
    page.locator(f"#count:has-text('{door.cells:,} cells')").wait_for(timeout=60_000)
    page.locator("#row-0 .c1:has-text('cell0')").wait_for(timeout=60_000)
    opened = page.evaluate("performance.now()") - begun
    memory = renderer().memory_info().rss // 1_000_000
    page.locator("#search").fill(f"cell{door.cells - 1}")
    begun = page.evaluate("performance.now()")
    page.keyboard.press("Enter")
    page.locator(f"#count:has-text('1 of {door.cells:,} cells')").wait_for(timeout=300_000)
    searched = page.evaluate("performance.now()") - begun
    page.goto("about:blank")
    page.goto(f"{url}/")
    made = page.evaluate(OPEN, [JOB, WIDTH, HEIGHT, FRAMES])
    assert made["everyone"] == door.cells, "points are missing from the map"
    assert made["wrong"] == 0, "a pixel shows a point that does not lie there"
    moved: dict[str, Any] = {}
    for kind in ("pan", "zoom", "highlight"):
        before = busy_seconds()
        times = page.evaluate("(kind) => bench.run(kind)", kind)
        busy = (busy_seconds() - before) / FRAMES * 1000
        moved[kind] = {part: summary(times[part]) for part in ("drawn", "shown")}
        moved[kind]["processor_ms_a_frame"] = round(busy, 1)
    return {
        "opened_ms": round(opened),
        "search_of_all_texts_ms": round(searched),
        "renderer_memory_mb": memory,
        "columns_bytes": made["bytes"],
        "read_columns_ms": round(made["readMs"], 1),
        "group_and_colour_ms": round(made["groupMs"], 1),
        **moved,
        "pick": summary(page.evaluate("bench.pick()")),
        "lasso_of_120_corners": summary(page.evaluate("bench.lasso()")),
    }


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    chromium = os.environ.get("C2T_CHROMIUM") or shutil.which("chromium")
    results: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
        "load_before": os.getloadavg()[0],
        "nice": os.nice(0),
        "map_pixels": [WIDTH, HEIGHT],
        "frames": FRAMES,
        "drawn": "time of the script for a frame, by the clock",
        "shown": "time until the frame after it, by the clock",
        "processor_ms_a_frame": "what the page's main thread used, of any frame; free of load",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        results["browser"] = f"Chromium {browser.version}, headless, without a graphics card"
        for cells in options.cells:
            with serving(cells) as door:
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                found = measure(page, door, f"http://127.0.0.1:{door.server_port}")
                results["page_bytes"] = sum(door.sent.values())
                results["page_files"] = len(door.sent)
                page.close()
            results[f"{cells} cells"] = found
            print(cells, json.dumps(found))
        browser.close()
    files = load_page().values()
    results["page_gzipped_bytes"] = sum(len(file.gzipped or file.body) for file in files)
    options.output.write_text(json.dumps(results, indent=2) + "\n")


def cpu_name() -> str:
    """What the machine calls its processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
