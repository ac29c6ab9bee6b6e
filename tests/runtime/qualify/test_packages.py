"""Packages and their files: what c2t runs on, and what is not as its wheel brought it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installed_copy import write_record

from c2t.runtime.qualify.packages import look_at_packages
from c2t.runtime.qualify.wheel_files import check_packages


def install(site: Path, name: str, *requires: str) -> Path:
    """A small package. Returns its folder."""
    folder = site / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"name = {name!r}\n")
    (folder / "code.py").write_text("x = 1\n")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    write_record(site, name, "1.0", metadata, list(folder.iterdir()))
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    install(
        site,
        "c2t",
        "Al.pha[fast]>=1",
        'beta>=2; extra == "cpu"',
        'gamma; extra == "gpu"',  # not installed: an extra need not be
        'torchy; extra == "export"',  # installed, but c2t runs without it
        'winny; sys_platform == "nowhere"',
    )
    install(site, "al_pha", 'quick; extra == "fast"', 'slow; extra == "slow"', "c2t")
    for name in ("beta", "quick", "slow", "torchy"):
        install(site, name)
    return site


def faults(site: Path) -> list[str]:
    checked = check_packages(look_at_packages([str(site)]))
    return [fault for package in checked for fault in package.faults]


def test_what_c2t_runs_on_and_nothing_else(site: Path) -> None:
    installed = look_at_packages([str(site)])
    assert installed.running == ("al-pha", "beta", "c2t", "quick")
    assert not installed.missing
    assert faults(site) == []


def test_a_required_package_that_is_missing_is_named(site: Path) -> None:
    install(site, "later", "nowhere>=3")
    metadata = site / "beta-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: later\n")
    assert look_at_packages([str(site)]).missing == (
        "nowhere, which later needs, is not installed",
    )


def test_without_c2t_that_is_said(tmp_path: Path) -> None:
    assert look_at_packages([str(tmp_path)]).missing == (
        "c2t, which this report needs, is not installed",
    )


def test_a_changed_a_missing_and_an_added_file_are_named(site: Path) -> None:
    code = site / "beta" / "code.py"
    code.write_text("x = 2\n")  # as long as before
    assert faults(site) == ["beta/code.py (changed)"]
    code.unlink()
    assert faults(site) == ["beta/code.py (not there)"]
    code.write_text("x = 1\n")
    assert faults(site) == []
    (site / "quick" / "inside").mkdir()
    (site / "quick" / "inside" / "new.py").write_text("")
    assert faults(site) == [str(Path("quick/inside/new.py (not of the package)"))]


def test_compiled_copies_are_no_fault(site: Path) -> None:
    cache = site / "beta" / "__pycache__"
    cache.mkdir()
    (cache / "code.cpython-311.pyc").write_bytes(b"")
    assert faults(site) == []


def test_a_file_of_a_package_that_is_not_run_is_no_fault(site: Path) -> None:
    (site / "torchy" / "code.py").write_text("x = 3\n")
    assert faults(site) == []


@pytest.mark.parametrize("row", ["md5=abc", "sha256=", "sha256=!!!", "=", "nonsense"])
def test_a_hash_that_says_nothing_is_no_pass(site: Path, row: str) -> None:
    record = site / "beta-1.0.dist-info" / "RECORD"
    lines = record.read_text().splitlines()
    lines = [f"beta/code.py,{row},6" if line.startswith("beta/code.py") else line for line in lines]
    record.write_text("\n".join(lines) + "\n")
    assert faults(site) == ["beta/code.py (changed)"] or "beta/code.py" in faults(site)[0]


@pytest.mark.parametrize("record", [None, "", "beta/code.py,,\n"])
def test_a_package_without_hashes_is_said(site: Path, record: str | None) -> None:
    path = site / "beta-1.0.dist-info" / "RECORD"
    path.unlink() if record is None else path.write_text(record)
    assert "beta: it has no RECORD with hashes, so its files cannot be compared" in faults(site)


def test_an_editable_package_is_said(site: Path) -> None:
    about = {"url": "file:///home/me/c2t", "dir_info": {"editable": True}}
    (site / "c2t-1.0.dist-info" / "direct_url.json").write_text(json.dumps(about))
    fault = "c2t: it is installed editable: its code in file:///home/me/c2t can change at any time"
    assert faults(site)[0] == fault


def test_of_two_packages_with_a_name_the_first_counts(site: Path, tmp_path: Path) -> None:
    install(tmp_path / "other", "beta")
    (tmp_path / "other" / "beta" / "code.py").write_text("x = 5\n")
    assert not faults(site)
    first = check_packages(look_at_packages([str(tmp_path / "other"), str(site)]))
    assert [f for package in first for f in package.faults] == ["beta/code.py (changed)"]
