"""Who may ask: Host, Origin and token, as hostile pages and programs would send them."""

from __future__ import annotations

import httpx
import pytest
from http_service import Service, problem, serving

from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.wire.guard import split_host
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError

TOKEN = "0123456789abcdef-very.long_token"
OPTIONS = HttpOptions(
    token=TOKEN, hosts=("c2t.lab", "proxy.lab:443"), origins=("https://proxy.lab/",)
)


@pytest.fixture(scope="module")
def guarded(room: EngineRoom):
    with serving(room, OPTIONS) as service:
        yield service


def get(service: Service, path: str = "/v1/bundle", **headers: str) -> httpx.Response:
    return service.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.1.2.3:{port}", 200),
        ("c2t.lab", 200),
        ("c2t.lab:{port}", 200),
        ("proxy.lab:443", 200),
        ("proxy.lab", 403),
        ("rebound.example:{port}", 403),  # a page whose name was bound to 127.0.0.1
        ("127.0.0.1.rebound.example:{port}", 403),
        ("localhost.rebound.example:{port}", 403),
        ("rebound.example@127.0.0.1:{port}", 403),
        ("localhost", 403),
        ("localhost:1", 403),
        ("10.0.0.1:{port}", 403),
        ("2130706433:{port}", 403),
        ("[::1:{port}", 403),
        ("::1:{port}", 403),
        ("localhost:{port}x", 403),
        ("localhost:٣", 403),
        (":{port}", 403),
        ("", 403),
        (",", 403),
    ],
)
def test_hosts(guarded: Service, host: str, status: int) -> None:
    sent = host.format(port=guarded.port).encode()
    answer = guarded.client.get("/v1/bundle", headers=[(b"Host", sent)])
    assert answer.status_code == status
    if status != 200:
        assert "host" in problem(answer)["detail"]


def test_a_request_without_a_host_is_refused(guarded: Service) -> None:
    answer = guarded.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"application/problem+json" in answer


def test_two_hosts_are_refused(guarded: Service) -> None:
    host = f"Host: localhost:{guarded.port}"
    answer = guarded.raw(guarded.request("GET /healthz HTTP/1.1", host))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("path", ["/v1/bundle", "/healthz", "/openapi.json", "/v1/nothing"])
@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("http://127.0.0.1:{port}", True),
        ("HTTP://127.0.0.1:{port}", True),
        ("https://proxy.lab", True),
        ("http://localhost:{port}", False),  # not the Host of this request
        ("https://127.0.0.1:{port}", False),
        ("http://127.0.0.1", False),
        ("http://127.0.0.1:1", False),
        ("http://evil.example", False),
        ("http://127.0.0.1:{port}.evil.example", False),
        ("http://evil.example, http://127.0.0.1:{port}", False),
        ("null", False),
        ("file://", False),
        ("", False),
    ],
)
def test_origins(guarded: Service, path: str, origin: str, passes: bool) -> None:
    answer = get(guarded, path, Origin=origin.format(port=guarded.port))
    assert (answer.status_code != 403) == passes
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, "/v1/bundle", 200),
        ({"Sec_Fetch_Site": "none"}, "/v1/bundle", 200),
        ({"Sec_Fetch_Site": "cross-site"}, "/v1/bundle", 403),
        ({"Sec_Fetch_Site": "same-site"}, "/healthz", 403),  # another port of this machine
        ({"Sec_Fetch_Site": "anything"}, "/healthz", 403),
        (
            {
                "Sec_Fetch_Site": "cross-site",
                "Sec_Fetch_Mode": "navigate",
                "Sec_Fetch_Dest": "document",
            },
            "/v1/bundle",
            403,
        ),
        (
            {
                "Sec_Fetch_Site": "cross-site",
                "Sec_Fetch_Mode": "navigate",
                "Sec_Fetch_Dest": "iframe",
            },
            "/",
            403,
        ),
    ],
)
def test_other_sites_are_refused(
    guarded: Service, headers: dict[str, str], path: str, status: int
) -> None:
    assert get(guarded, path, **headers).status_code == status


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN[:-1]}é",
        f"Basic {TOKEN}",
        f"{TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN.upper()}",
    ],
)
def test_bad_tokens(guarded: Service, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent.encode("latin-1")}
    with httpx.Client(base_url=guarded.client.base_url) as stranger:
        for method, path in (
            ("GET", "/v1/bundle"),
            ("GET", "/metrics"),
            ("POST", "/v1/describe"),
            ("GET", "/v1/jobs"),
            ("GET", "/v2/models/tiny"),
            ("GET", "/v1/nothing"),
            ("GET", f"/v1/bundle?token={TOKEN}"),
        ):
            answer = stranger.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert TOKEN not in problem(answer)["detail"]


def test_health_and_description_need_no_token(guarded: Service) -> None:
    with httpx.Client(base_url=guarded.client.base_url) as stranger:
        for path in ("/healthz", "/readyz", "/v2/health/live", "/openapi.json"):
            assert stranger.get(path).status_code == 200


def test_the_token_passes_whatever_the_case_of_bearer(guarded: Service) -> None:
    assert get(guarded, Authorization=f"bearer {TOKEN}").status_code == 200


def test_refusals_are_counted_and_logged(
    guarded: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def count(reason: str) -> float:
        value = guarded.metrics.registry.get_sample_value("c2t_rejected_total", {"reason": reason})
        return value or 0.0

    before = {reason: count(reason) for reason in ("host", "origin", "token")}
    get(guarded, Host="evil.example")
    get(guarded, Origin="http://evil.example")
    get(guarded, Authorization="Bearer guessed-guessed-guessed")
    assert {reason: count(reason) - before[reason] for reason in before} == dict.fromkeys(before, 1)
    assert "evil.example" in caplog.text
    assert "guessed" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"token": ""},
        {"token": "short"},
        {"token": "with a space, and long enough"},
        {"token": "é" * 20},
        {"token": "line\nbreak-and-long-enough"},
        {"body_bytes": 0},
        {"heartbeat_seconds": float("nan")},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(C2TError) as caught:
        HttpOptions(**options)  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("a", "a", 80),
        ("a:1", "a", 1),
        ("[::1]", "::1", 80),
        ("[::1]:8", "::1", 8),
        ("::1", "", 0),
        ("a:", "", 0),
        ("a:+1", "", 0),
        ("a:999999", "", 0),
    ],
)
def test_hosts_are_taken_apart(host: str, name: str, port: int) -> None:
    assert split_host(host, 80) == (name, port)
