"""The page before a bundle that describes no cells: it says which doors do what that can do."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("playwright")
pytest.importorskip("prometheus_client")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from ask_bundles import vector_bundle
from http_service import serving
from page_browser import OpenPage, expect
from tiny_data import JOINT

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.room import EngineRoom


@pytest.mark.parametrize(
    ("family", "said", "unsaid"),
    [
        ("cellwhisperer", ["search", "annotate", "embed"], ["ask"]),
        ("cell2text", ["ask", "embed"], ["search", "annotate"]),
    ],
)
def test_the_page_says_which_doors_do_it(
    open_page: OpenPage,
    cells: Path,
    tmp_path: Path,
    family: str,
    said: list[str],
    unsaid: list[str],
) -> None:
    bundle = JOINT if family == "cellwhisperer" else vector_bundle(tmp_path / "asks")
    with c2t.open(bundle, c2t.DescribeOptions(threads=1, engine="cpu")) as model:
        room = EngineRoom(model)
        jobs = Jobs(room, JobOptions(folder=tmp_path / "jobs"))
        jobs.start()
        with serving(room, jobs=jobs) as service:
            page = open_page(f"http://127.0.0.1:{service.port}")
            expect(page["#elsewhere"]).to_be_visible()
            expect(page["#elsewhere-title"]).to_have_text("This model describes no cells")
            expect(page["#elsewhere-can"]).to_contain_text(f"({family}) cannot describe cells")
            expect(page["#new"]).to_be_hidden()
            doors = page["#elsewhere-doors"].text_content() or ""
            for task in said:
                assert f"POST /v1/{task}" in doors
                assert f"c2t {task} BUNDLE" in doors
            for task in unsaid:
                assert task not in doors
            page.drop(cells)  # is not sent: nothing could be done with it
            page.page.wait_for_timeout(300)
            expect(page["#jobs"]).to_contain_text("None yet")
            expect(page["#new-problem"]).to_be_hidden()
        jobs.close()
        room.close()


def test_a_bundle_that_describes_has_its_form(open_page: OpenPage, service: str) -> None:
    page = open_page(service)
    expect(page["#bundle"]).to_contain_text("Bundle")
    expect(page["#new"]).to_be_visible()
    expect(page["#elsewhere"]).to_be_hidden()
