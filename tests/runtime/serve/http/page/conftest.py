"""The page in a real browser, before a real service: the tiny bundle, its jobs, its door.

Optional packages are imported by the fixtures: the files that use these are skipped by name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_cells import write_page_cells

import c2t
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file

if TYPE_CHECKING:
    from page_browser import OpenPage, Serve, Watched
    from playwright.sync_api import Browser

OPTIONS = c2t.DescribeOptions(threads=1, engine="cpu")


@pytest.fixture(scope="module")  # Playwright keeps an event loop in this thread while it is open
def browser() -> Iterator[Browser]:
    from page_browser import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages, each with nothing that another has stored.

    At the end: nothing was asked of another host, and the console has no error.
    """
    from page_browser import Watched

    opened: list[Watched] = []

    def open_one(url: str, **context: Any) -> Watched:
        watched = Watched(browser.new_context(**context), url)
        opened.append(watched)
        return watched

    yield open_one
    for watched in opened:
        watched.context.close()
    for watched in opened:
        assert watched.foreign == []
        assert watched.complaints == []


@pytest.fixture(scope="session")
def model(tiny_bundle_folder: Path) -> Iterator[c2t.Model]:
    with c2t.open(tiny_bundle_folder, OPTIONS) as model:
        yield model


@pytest.fixture(scope="session")
def serve(model: c2t.Model) -> Serve:
    """Serves the tiny bundle; gives the address of the page."""
    from http_service import serving

    from c2t.runtime.serve.http.options import HttpOptions
    from c2t.runtime.serve.jobs.jobs import Jobs
    from c2t.runtime.serve.jobs.options import JobOptions
    from c2t.runtime.serve.room.room import EngineRoom

    @contextmanager
    def serve_one(folder: Path, *, token: str | None = None, **options: Any) -> Iterator[str]:
        room = EngineRoom(model)
        jobs = Jobs(room, JobOptions(folder=folder, **options))
        jobs.start()
        try:
            with serving(room, HttpOptions(token=token), jobs=jobs) as service:
                yield f"http://127.0.0.1:{service.port}"
        finally:
            jobs.close()
            room.close()

    return serve_one


@pytest.fixture
def service(serve: Serve, tmp_path: Path) -> Iterator[str]:
    """Address of a service that nobody has given a file."""
    with serve(tmp_path / "jobs") as url:
        yield url


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page_cells(tmp_path_factory.mktemp("cells") / "three groups.h5ad")


@pytest.fixture(scope="session")
def described(cells: Path, model: c2t.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `c2t describe` writes about these cells: described.jsonl and so on."""
    folder = tmp_path_factory.mktemp("described")
    for suffix in ("jsonl", "csv", "parquet", "h5ad"):
        options = DescribeFileOptions(
            cells=cells, output=folder / f"described.{suffix}", describing=OPTIONS
        )
        describe_file(model.bundle, options, stream=io.BytesIO(), report=lambda words: None)
    return folder


@pytest.fixture(scope="module")
def result(serve: Serve, cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the described cells."""
    import httpx
    from http_service import wait_until

    with serve(tmp_path_factory.mktemp("jobs")) as url:
        answer = httpx.post(
            f"{url}/v1/jobs?name=three%20groups.h5ad",
            content=cells.read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
        )
        job = answer.raise_for_status().json()["id"]
        wait_until(lambda: httpx.get(f"{url}/v1/jobs/{job}").json()["state"] == "done")
        yield f"{url}/#/jobs/{job}"
