"""Who the server is: made once and kept, and refused where it is damaged or open to others."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from serve_cells import counts
from sila.client import Client, ClientConfig
from sila.framework import SiLATimeoutError
from sila_door import body, client_of, opened, responses, trust

from c2t.runtime.serve.sila import identity
from c2t.runtime.serve.sila.door import start
from c2t.runtime.serve.sila.identity import Identity, open_identity
from c2t.runtime.serve.sila.options import SilaOptions
from c2t.runtime.system.errors import C2TError


def known(folder: Path, **options) -> Identity:
    return open_identity(SilaOptions(folder=folder, **options))


def certificate(found: Identity) -> x509.Certificate:
    assert found.certificate is not None
    return x509.load_pem_x509_certificate(found.certificate)


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sila"
    first = known(folder)
    assert known(folder) == first
    assert {path.name for path in folder.iterdir()} == {"server-uuid", "key.pem", "certificate.pem"}
    assert known(folder, insecure=True) == Identity(uuid=first.uuid)
    if os.name == "posix":
        assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_certificate_says_what_sila_asks(tmp_path: Path) -> None:
    found = known(tmp_path)
    made = certificate(found)
    (name,) = made.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert name.value == "SiLA2"
    number = x509.ObjectIdentifier("1.3.6.1.4.1.58583")
    assert made.extensions.get_extension_for_oid(number).value.value == found.uuid.encode()
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    made.verify_directly_issued_by(made)
    assert found.key is not None
    key = serialization.load_pem_private_key(found.key, password=None)
    assert key.public_key() == made.public_key()


def test_it_is_made_anew_with_the_same_key_where_it_no_longer_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = known(tmp_path)
    other = known(tmp_path, host="192.0.2.7")
    assert other.certificate != first.certificate
    assert (other.key, other.uuid) == (first.key, first.uuid)
    assert "is not for 192.0.2.7" in caplog.text
    assert known(tmp_path, host="192.0.2.7") == other

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=20 * 365)

    monkeypatch.setattr(identity, "datetime", Later)
    later = known(tmp_path, host="192.0.2.7")
    assert later.certificate != other.certificate
    assert later.key == first.key
    assert "has expired" in caplog.text
    assert certificate(later).not_valid_after_utc > datetime.now(UTC) + timedelta(days=29 * 365)


def test_one_for_all_addresses_names_this_machine(tmp_path: Path) -> None:
    made = certificate(known(tmp_path, host="0.0.0.0"))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "::1"} <= found
    assert "0.0.0.0" not in found


def test_damage_is_refused_with_what_to_do(tmp_path: Path) -> None:
    known(tmp_path)
    key, uuid_file = tmp_path / "key.pem", tmp_path / "server-uuid"
    good, good_uuid = key.read_bytes(), uuid_file.read_bytes()
    for content, problem in (
        (b"", "damaged"),
        (b"\xff" * 100, "damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (bytes(2 << 20), "at most"),
    ):
        key.write_bytes(content)
        with pytest.raises(C2TError, match=problem) as caught:
            known(tmp_path)
        assert caught.value.hint
    key.write_bytes(good)
    for content in (b"", b"\xff", b"no uuid", b"0" * 101):
        uuid_file.write_bytes(content)
        with pytest.raises(C2TError) as caught:
            known(tmp_path)
        assert str(uuid_file) in caught.value.problem
    uuid_file.write_bytes(good_uuid)
    known(tmp_path)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    known(tmp_path / "one")
    known(tmp_path / "two")
    (tmp_path / "one/key.pem").write_bytes((tmp_path / "two/key.pem").read_bytes())
    with pytest.raises(C2TError, match="another key"):
        known(tmp_path / "one")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    known(tmp_path)
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(C2TError, match="others may read") as caught:
        known(tmp_path)
    assert "chmod 600" in caught.value.hint


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(C2TError, match="cannot use") as caught:
        known(tmp_path / "file" / "sila")
    assert caught.value.hint


def test_ones_own_certificate_is_used(room, jobs, tmp_path: Path) -> None:
    known(tmp_path / "own")
    own = {name: tmp_path / "own" / f"{name}.pem" for name in ("certificate", "key")}

    async def run() -> None:
        async with opened(room, jobs, tmp_path, **own) as door, client_of(door) as client:
            assert door.certificate_file == own["certificate"]
            assert not (tmp_path / "sila" / "key.pem").exists()
            execution = await client.CellDescription.DescribeCells(
                Cells=body(counts(1)), Settings=""
            )
            assert (await responses(execution))["Count"] == 1

    asyncio.run(run())


def test_only_clients_with_a_certificate_are_let_in(room, jobs, tmp_path: Path) -> None:
    known(tmp_path / "client")
    authority = tmp_path / "client" / "certificate.pem"

    async def run() -> None:
        async with opened(room, jobs, tmp_path, client_authority=authority) as door:
            shown = {
                "certificate_chain": authority.read_bytes(),
                "private_key": (tmp_path / "client" / "key.pem").read_bytes(),
            }
            client = Client(ClientConfig(door.host, door.port, **trust(door), **shown))
            await client.open()
            assert await client.get_server_uuid() == door.server.uuid
            await client.close()
            stranger = Client(ClientConfig(door.host, door.port, **trust(door)))
            with pytest.raises(SiLATimeoutError):
                await stranger.open(timeout=500)

    asyncio.run(run())


def test_tls_is_not_left_out_in_silence(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door:
            plain = Client(ClientConfig(door.host, door.port, tls=False))
            with pytest.raises(SiLATimeoutError):
                await plain.open(timeout=500)
            known(tmp_path / "other")
            root = (tmp_path / "other/certificate.pem").read_bytes()
            deceived = Client(ClientConfig(door.host, door.port, root_certificates=root))
            with pytest.raises(SiLATimeoutError):
                await deceived.open(timeout=500)

    asyncio.run(run())


def test_without_tls_on_this_machine_alone(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path, insecure=True) as door, client_of(door) as client:
            assert door.certificate_file is None
            assert await client.get_server_uuid() == door.server.uuid

    asyncio.run(run())
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        with pytest.raises(C2TError, match="without TLS") as caught:
            SilaOptions(folder=tmp_path, host=host, insecure=True)
        assert "--sila-insecure" in caught.value.hint
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        SilaOptions(folder=tmp_path, host=host, insecure=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"host": ""}, "no address"),
        ({"host": "unix:/tmp/socket"}, "no address"),
        ({"host": "127.0.0.1:80"}, "no address"),
        ({"port": 65536}, "port 65536"),
        ({"port": -1}, "port -1"),
        ({"certificate": Path("a.pem")}, "belong together"),
        ({"key": Path("a.pem")}, "belong together"),
        ({"insecure": True, "client_authority": Path("a.pem")}, "without"),
        ({"name": ""}, "0 characters"),
        ({"name": "x" * 256}, "256 characters"),
    ],
)
def test_options_that_cannot_be_are_refused(options, problem: str, tmp_path: Path) -> None:
    with pytest.raises(C2TError, match=problem) as caught:
        SilaOptions(folder=tmp_path, **options)
    assert caught.value.hint


def test_other_machines_are_let_in_only_if_that_is_said(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        options = SilaOptions(folder=tmp_path / "none", host=host)
        with pytest.raises(C2TError, match=f"everybody who reaches {host}") as caught:
            asyncio.run(start(None, None, options))
        assert "--sila-client-authority" in caught.value.hint
    assert not (tmp_path / "none").exists()
    SilaOptions(folder=tmp_path, host="0.0.0.0", open_to_all=True).check_access()
    SilaOptions(folder=tmp_path, host="0.0.0.0", client_authority=tmp_path).check_access()
    SilaOptions(folder=tmp_path).check_access()


@pytest.mark.parametrize("missing", ["cryptography.x509", "sila.server", "grpc.aio"])
def test_what_is_not_installed_is_named(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(C2TError, match=f"not installed here.*{missing.split('.')[0]}") as caught:
        asyncio.run(start(None, None, SilaOptions(folder=tmp_path)))
    assert 'pip install "c2t[sila]"' in caught.value.hint


def test_a_taken_port_is_refused(room, jobs, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(room, jobs, tmp_path) as door:
            with pytest.raises(C2TError, match=f"port {door.port}") as caught:
                await start(room, jobs, SilaOptions(folder=tmp_path / "b", port=door.port))
            assert "take another port" in caught.value.hint

    asyncio.run(run())


def test_the_uuid_is_the_same_after_a_restart(room, jobs, tmp_path: Path) -> None:
    async def run() -> str:
        async with opened(room, jobs, tmp_path) as door, client_of(door) as client:
            return await client.get_server_uuid()

    assert asyncio.run(run()) == asyncio.run(run())
