"""The page's files: only they are sent, with what a browser must know about them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from http_service import Service, problem, serving

from c2t.runtime.serve.http import page_files
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.room.room import EngineRoom

INDEX = b"<!doctype html><title>c2t</title>" + b"<p>cells</p>" * 100


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "page"
    (folder / "map").mkdir(parents=True)
    (folder / "index.html").write_bytes(INDEX)
    (folder / "style.css").write_bytes(b"p{}")
    (folder / "map" / "view.js").write_bytes(b"export {};")
    (folder / "notes.txt").write_bytes(b"not for others")
    (folder / "__init__.py").write_bytes(b"")
    (tmp_path / "secret.js").write_bytes(b"secret")
    monkeypatch.setattr(page_files.load_page, "__defaults__", (folder,))
    return folder


@pytest.fixture
def service(room: EngineRoom, folder: Path):
    with serving(room, HttpOptions(token="0123456789abcdef"), ready=False) as service:
        service.client.headers.pop("Authorization")
        yield service


def test_files_have_their_types_and_a_strict_policy(service: Service) -> None:
    types = {"/": "text/html", "/style.css": "text/css", "/map/view.js": "text/javascript"}
    for path, media_type in types.items():
        answer = service.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    assert service.client.get("/").content == INDEX


def test_nothing_else_is_sent(service: Service, folder: Path) -> None:
    (folder / "later.js").write_bytes(b"written after the start")
    paths = ["/index.html", "/notes.txt", "/__init__.py", "/later.js", "/map", "/map/"]
    paths += ["/%2e%2e/secret.js", "/map/..%2f..%2fsecret.js", "/style.css%00", "/style.css%0a"]
    for path in paths:
        answer = service.client.get(path)
        assert answer.status_code in (401, 404), path
        problem(answer)


def test_a_browser_that_has_a_file_is_not_sent_it_again(service: Service, folder: Path) -> None:
    tag = service.client.get("/").headers["ETag"]
    for sent in (tag, f"W/{tag}", f'"other", {tag}'):
        answer = service.client.get("/", headers={"If-None-Match": sent})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == tag
    assert service.client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200
    assert service.client.get("/style.css").headers["ETag"] != tag


def test_files_are_compressed_where_it_pays(service: Service) -> None:
    with service.client.stream("GET", "/", headers={"Accept-Encoding": "br, gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == INDEX
    for encoding in ("identity", "gzip;q=0", "br"):
        answer = service.client.get("/", headers={"Accept-Encoding": encoding})
        assert "Content-Encoding" not in answer.headers
        assert answer.content == INDEX
    assert "Content-Encoding" not in service.client.get("/style.css").headers
    assert service.client.get("/style.css").headers["Vary"] == "Accept-Encoding"


def test_head_is_a_get_without_a_body(service: Service) -> None:
    answer = service.client.head("/", headers={"Accept-Encoding": "identity"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(INDEX)


def test_a_link_of_another_site_leads_to_the_page_only(service: Service) -> None:
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert service.client.get("/", headers=link).status_code == 200
    assert service.client.get("/map/view.js", headers=link).status_code == 403
    frame = {**link, "Sec-Fetch-Dest": "iframe"}
    assert service.client.get("/", headers=frame).status_code == 403
