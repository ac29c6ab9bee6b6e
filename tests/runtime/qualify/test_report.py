"""The report: what passes, what fails and is named, and that it is whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from installed_copy import install_copy, run_installed

from c2t.runtime.qualify import report as report_module
from c2t.runtime.qualify import sbom
from c2t.runtime.qualify.report import QualifyOptions
from c2t.runtime.qualify.write import write_report
from c2t.runtime.system.errors import AuditError, OutputError


@pytest.fixture
def quick(monkeypatch):
    """Leave out what looks at the whole environment, and takes seconds."""
    monkeypatch.setattr(report_module, "_check_installation", lambda: ([], ()))
    monkeypatch.setattr(report_module, "can_make_sbom", lambda: False)


@pytest.fixture
def bundle(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")


def outcomes(report) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


@pytest.mark.slow
def test_a_good_install_passes_and_a_changed_wheel_file_fails(
    tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    package = install_copy(tmp_path / "site")
    good = run_installed(
        tmp_path / "site", "verify", tiny_bundle_folder, "--report", tmp_path / "good"
    )
    assert good.returncode == 0, good.stdout + good.stderr
    report = json.loads((tmp_path / "good" / "report.json").read_text())
    assert report["result"] == "pass"
    assert "numpy" in {package["name"] for package in report["packages"]}
    assert (report["sbom"] is not None) == (find_spec("cyclonedx_py") is not None)
    changed = package / "runtime" / "output" / "formats.py"
    changed.write_text(changed.read_text() + "# one line more\n")
    bad = run_installed(
        tmp_path / "site", "verify", tiny_bundle_folder, "--report", tmp_path / "bad"
    )
    assert bad.returncode == 1
    assert "c2t/runtime/output/formats.py (changed)" in bad.stderr
    report = json.loads((tmp_path / "bad" / "report.json").read_text())
    assert report["result"] == "fail"
    wrong = [
        file for p in report["packages"] for file in p["files"] if file["expected"] != file["found"]
    ]
    assert [file["name"] for file in wrong] == ["c2t/runtime/output/formats.py"]
    assert wrong[0]["found"] == hashlib.sha256(changed.read_bytes()).hexdigest()
    assert "formats.py (changed)" in (tmp_path / "bad" / "report.html").read_text()


@pytest.mark.slow
def test_the_bill_of_materials_lists_c2t(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    made = sbom.write_sbom(tmp_path)
    content = (tmp_path / made.file).read_bytes()
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    document = json.loads(content)
    assert document["bomFormat"] == "CycloneDX"
    assert len(document["components"]) == made.components
    assert {"c2t", "numpy"} <= {component["name"] for component in document["components"]}


def test_all_that_is_tried_passes(quick, bundle: Path, tmp_path: Path) -> None:
    report = write_report(bundle, tmp_path / "report").made.report
    assert report.result == "pass"
    assert report.not_done == ("signature", "software bill of materials")
    assert not report.failed
    assert len(report.checks) >= 17
    assert all(text.right and text.actual == text.expected for text in report.golden)
    assert report.golden
    assert "greedy" in report.settings["search"]
    assert report.intended_use.startswith("Non-critical use")
    assert "Search: greedy, without chance" in report.intended_use


def test_every_file_has_its_hash_and_the_page_names_the_jsons(
    quick, bundle: Path, tmp_path: Path
) -> None:
    written = write_report(bundle, tmp_path / "report")
    content = (tmp_path / "report" / "report.json").read_bytes()
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert written.sha256 in (tmp_path / "report" / "report.html").read_text()
    sums = (tmp_path / "report" / "SHA256SUMS").read_text().splitlines()
    found = dict(reversed(line.split("  ")) for line in sums)
    assert found.keys() == {"report.json", "report.html"}
    for name, digest in found.items():
        assert hashlib.sha256((tmp_path / "report" / name).read_bytes()).hexdigest() == digest
    files = json.loads(content)["bundle_files"]
    assert {file["name"] for file in files} == {
        path.name for path in bundle.iterdir() if path.name != "manifest.json"
    }
    for file in files:
        digest = hashlib.sha256((bundle / file["name"]).read_bytes()).hexdigest()
        assert file["expected"] == file["found"] == digest


class Page(HTMLParser):
    """Elements of a page, and whether they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_the_page_runs_nothing_and_shows_what_strangers_wrote_as_text(
    quick, bundle: Path, tmp_path: Path
) -> None:
    evil = "<script>alert(1)</script>\"'&\x1b[31m"
    options = QualifyOptions(system=evil, system_id=evil, site=evil, performer=evil, reviewer=evil)
    write_report(bundle, tmp_path / "report", options)
    text = (tmp_path / "report" / "report.html").read_text()
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "a"} & set(page.seen)
    assert "default-src 'none'" in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "@media print" in text
    assert not re.search("https?://", text)


def test_a_changed_file_of_the_bundle_fails_and_the_rest_is_not_done(
    quick, bundle: Path, tmp_path: Path
) -> None:
    place = bundle / "tokenizer.json"
    content = bytearray(place.read_bytes())
    content[20] ^= 1
    place.write_bytes(content)
    report = write_report(bundle, tmp_path / "report").made.report
    assert report.result == "fail"
    assert report.failed == ("files of the bundle", "bundle")
    wrong = next(check for check in report.checks if check.name == "files of the bundle")
    assert "tokenizer.json (changed)" in wrong.actual
    assert outcomes(report)["golden texts"] == "not done"
    assert outcomes(report)["audit trail with a cut-off end"] == "pass"


def test_no_bundle_is_a_failed_check(quick, tmp_path: Path) -> None:
    report = write_report(tmp_path / "nowhere", tmp_path / "report").made.report
    assert report.result == "fail"
    assert outcomes(report)["bundle"] == "fail"


def test_another_golden_text_fails_and_is_shown(quick, bundle: Path, tmp_path: Path) -> None:
    from cli_process import set_golden

    golden = json.loads((bundle / "golden.json").read_text())["cells"]
    golden[1]["text"] = "another text"
    set_golden(bundle, golden)
    report = write_report(bundle, tmp_path / "report").made.report
    assert report.failed == ("golden texts",)
    assert outcomes(report)["the same texts twice"] == "pass"
    assert [text.right for text in report.golden][:2] == [True, False]
    assert report.golden[1].expected == "another text"
    assert report.golden[1].actual != "another text"


def test_texts_that_differ_the_second_time_are_found(
    quick, bundle: Path, tmp_path: Path, monkeypatch
) -> None:
    from c2t.runtime.describe.verify import Difference, verify_golden_cells
    from c2t.runtime.qualify import operation

    runs = []

    def verify(*args):
        from dataclasses import replace

        found = verify_golden_cells(*args)
        runs.append(found)
        if len(runs) == 2:
            other = Difference(cell=0, first_token=3, expected="a", found="b")
            return replace(found, differences=(other,))
        return found

    monkeypatch.setattr(operation, "verify_golden_cells", verify)
    report = write_report(bundle, tmp_path / "report").made.report
    assert report.failed == ("the same texts twice",)


def test_an_unsigned_bundle_fails_where_a_key_is_trusted(
    quick, call_c2t, bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    from key_pairs import new_keys

    pair = new_keys(tmp_path)
    options = QualifyOptions(trust=pair.public)
    report = write_report(bundle, tmp_path / "unsigned", options).made.report
    assert report.failed == ("bundle, signed with the trusted key",)
    assert call_c2t("sign", bundle, "--key", pair.private).returncode == 0
    report = write_report(bundle, tmp_path / "signed", options).made.report
    assert report.result == "pass"
    assert report.bundle.signed_by


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_a_bad_key_is_refused_in_two_lines(
    quick, call_c2t, bundle: Path, tmp_path: Path, content: bytes | None
) -> None:
    pytest.importorskip("cryptography")
    key = tmp_path / "key.pem"
    if content is not None:
        key.write_bytes(content)
    before = set(tmp_path.iterdir())
    done = call_c2t("verify", bundle, "--report", tmp_path / "report", "--trust", key)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: {key} is not a public key")
    assert hint.startswith("hint: name a PEM file")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("place", [".", "report", "a/b"])
def test_a_report_within_its_bundle_is_refused(quick, call_c2t, bundle: Path, place: str) -> None:
    before = set(bundle.rglob("*"))
    done = call_c2t("verify", bundle, "--report", bundle / place, "--force")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)
    assert set(bundle.rglob("*")) == before


def test_nothing_half_written(quick, bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"

    def fail(written):
        problem = "the trail takes no line"
        raise AuditError(problem, hint="")

    before = set(tmp_path.iterdir())
    with pytest.raises(AuditError):
        write_report(bundle, target, told=fail)
    assert set(tmp_path.iterdir()) == before
    first = write_report(bundle, target)
    with pytest.raises(OutputError, match="exists already"):
        write_report(bundle, target)
    with pytest.raises(AuditError):
        write_report(bundle, target, force=True, told=fail)
    digest = hashlib.sha256((target / "report.json").read_bytes()).hexdigest()
    assert digest == first.sha256
    write_report(bundle, target, force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(OutputError, match=r"report\.json"):
        write_report(bundle, tmp_path / "other", force=True)


def test_the_command_tells_the_trail(quick, call_c2t, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a1" * 32)
    audit = ("--audit", tmp_path / "trail", "--audit-key", tmp_path / "key")
    audit += ("--audit-head", tmp_path / "head")
    done = call_c2t("verify", bundle, "--report", tmp_path / "report", *audit)
    assert done.returncode == 0, done.stderr
    line = json.loads((tmp_path / "trail").read_text().splitlines()[-1])
    digest = hashlib.sha256((tmp_path / "report" / "report.json").read_bytes()).hexdigest()
    assert line["action"] == "verify"
    assert line["details"]["outputs"] == {str(tmp_path / "report" / "report.json"): digest}
    assert digest in done.stdout
    assert "not done: signature" in done.stderr


@pytest.mark.parametrize("option", [("--site", "here"), ("--force",), ("--system-id", "7")])
def test_options_of_a_report_need_one(call_c2t, tiny_bundle_folder: Path, option) -> None:
    done = call_c2t("verify", tiny_bundle_folder, *option)
    assert done.returncode == 2
    assert f"{option[0]} is for a report" in done.stderr


def test_a_broken_program_for_the_bill_is_said(monkeypatch, tmp_path: Path) -> None:
    def run(command, **kwargs):
        return subprocess.CompletedProcess(command, 3, "", "it broke\n")

    monkeypatch.setattr(sbom.subprocess, "run", run)
    with pytest.raises(sbom.SbomError, match="exit code 3: it broke"):
        sbom.write_sbom(tmp_path)
