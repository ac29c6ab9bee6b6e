"""A qualification report: what it says, and how it is made.

One decision: a fault of the installation or the bundle is a failed check in a report, not the end
of it. What could not be tried then is named as not done.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import c2t
from c2t.kernels.native import native_status
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.describe.verify import Verification
from c2t.runtime.qualify.bundle_files import check_bundle_files
from c2t.runtime.qualify.checks import Check, Outcome, judged, shortened
from c2t.runtime.qualify.operation import GoldenText, check_operation
from c2t.runtime.qualify.packages import Installed, look_at_packages
from c2t.runtime.qualify.sbom import HOW, Sbom, SbomError, can_make_sbom, write_sbom
from c2t.runtime.qualify.wheel_files import FileCheck, PackageCheck, check_packages
from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.machine import Machine, look_at_machine

FORMAT = 1
INTENDED_USE = (
    "Non-critical use: each text is reviewed by a qualified person before anything is decided by "
    "it. The model is frozen: it does not learn while it is used, and nothing of it is changed."
)
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, kw_only=True)
class QualifyOptions:
    """What a report says of people and places; what is empty is filled in by hand.

    Attributes:
        system: Name of the system that is qualified.
        system_id: Its number in the owner's list.
        site: Where it stands.
        performer: Who runs this.
        reviewer: Who will review the report.
        engine: See `c2t.runtime.engines.choose`.
        trust: PEM file of the key that the bundle must be signed with; None: it need not be.
    """

    system: str = ""
    system_id: str = ""
    site: str = ""
    performer: str = ""
    reviewer: str = ""
    engine: str = "auto"
    trust: Path | None = None


@dataclass(frozen=True, kw_only=True)
class BundleFacts:
    """The bundle; its fields are empty where it could not be opened."""

    path: str
    name: str = ""
    precision: str = ""
    digest: str = ""
    signed_by: str = ""  # fingerprint of the trusted key


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the report says.

    Attributes:
        result: "fail" if any check failed; checks that were not done are in `not_done`.
        made: UTC, ISO 8601.
        settings: How texts are made, by name.
        bundle_files: Every file of the bundle.
        packages: Every package that c2t runs on, with every file.
        golden: The golden cells' texts.
        sbom: The bill of materials; None: there is none, and a check says why.
        not_done: Names of the checks that were not done.
    """

    format: int
    result: Outcome
    made: str
    system: str
    system_id: str
    site: str
    performer: str
    reviewer: str
    intended_use: str
    c2t: str
    python: str
    driver: str
    kernels: str
    machine: Machine
    engine: str
    settings: dict[str, str]
    bundle: BundleFacts
    checks: tuple[Check, ...]
    not_done: tuple[str, ...]
    golden: tuple[GoldenText, ...]
    sbom: Sbom | None
    bundle_files: tuple[FileCheck, ...]
    packages: tuple[PackageCheck, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.outcome == "fail")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A report, and what its golden cells gave; None: they could not be described."""

    report: Report
    bundle: Bundle | None
    verification: Verification | None


def make_report(path: Path, folder: Path, options: QualifyOptions | None = None) -> Made:
    """Qualify this installation with a bundle.

    Args:
        path: The bundle's folder.
        folder: Where the bill of materials is written.
        options: People, places, and what is asked of the bundle.

    Raises:
        OSError: A folder for temporary files cannot be written.
    """
    options = options or QualifyOptions()
    checks, packages = _check_installation()
    files, file_check = check_bundle_files(path)
    checks.append(file_check)
    bundle, opened = _open(path, options, files_right=file_check.outcome == "pass")
    checks += opened
    sbom, sbom_check = _make_sbom(folder)
    checks.append(sbom_check)
    with tempfile.TemporaryDirectory(prefix="c2t-qualify-") as scratch:
        operation = check_operation(bundle, Path(scratch), engine=options.engine)
    checks += operation.checks
    outcomes = [check.outcome for check in checks]
    report = Report(
        format=FORMAT,
        result="fail" if "fail" in outcomes else "pass",
        made=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        system=options.system,
        system_id=options.system_id,
        site=options.site,
        performer=options.performer,
        reviewer=options.reviewer,
        intended_use=_intended_use(operation.settings),
        c2t=c2t.__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}",
        driver=_driver(),
        kernels=_kernels(),
        machine=look_at_machine(),
        engine=operation.engine,
        settings=operation.settings,
        bundle=_facts(path, bundle),
        checks=tuple(checks),
        not_done=tuple(check.name for check in checks if check.outcome == "not done"),
        golden=operation.golden,
        sbom=sbom,
        bundle_files=files,
        packages=packages,
    )
    return Made(report=report, bundle=bundle, verification=operation.verification)


def _intended_use(settings: dict[str, str]) -> str:
    """The statement, with how this bundle's texts are found."""
    search = settings.get("search")
    return f"{INTENDED_USE} Search: {search}." if search else INTENDED_USE


def _check_installation() -> tuple[list[Check], tuple[PackageCheck, ...]]:
    """The packages, and their files."""
    installed = look_at_packages()
    packages = check_packages(installed)
    running = f"{len(packages)} packages"
    checks = [
        judged(
            "IQ",
            "packages",
            expected="all that c2t requires are installed",
            actual=shortened(installed.missing) or f"{running} are installed",
            passed=not installed.missing,
        )
    ]
    faults = [f"{package.name}: {package.problem}" for package in packages if package.problem]
    for package in packages:
        faults += [fault for fault in package.faults if fault not in faults]
    count = sum(len(package.files) for package in packages)
    checks.append(
        judged(
            "IQ",
            "files of the packages",
            expected="each has the hash that its package's RECORD gives; no others are there",
            actual=shortened(faults) or f"{count:,} files of {running} have it",
            passed=not faults,
        )
    )
    checks.append(_check_running(installed))
    return checks, packages


def _check_running(installed: Installed) -> Check:
    """Whether what runs is what was compared: a path can lead to another c2t, or other kernels."""
    package, library = installed.every.get("c2t"), native_status().library
    running = [Path(c2t.__file__), *([] if library is None else [library])]
    folder = None if package is None else Path(str(package.locate_file("c2t")))
    others = [
        str(path)
        for path in running
        if folder is None or folder.resolve() not in path.resolve().parents
    ]
    return judged(
        "IQ",
        "the c2t that runs",
        expected="c2t and its compiled kernels are those of the installed package",
        actual=f"not of the package: {', '.join(others)}" if others else f"they are: {folder}",
        passed=not others,
    )


def _open(
    path: Path, options: QualifyOptions, *, files_right: bool
) -> tuple[Bundle | None, Sequence[Check]]:
    """Open the bundle, signed with the trusted key if there is one."""
    signed = options.trust is not None
    name = "bundle, signed with the trusted key" if signed else "bundle"
    expected = "can be opened, and all its files are signed" if signed else "can be opened"
    try:
        bundle = open_bundle(path, verify=True, trust=options.trust)
    except BundleError as error:
        failed = judged("IQ", name, expected=expected, actual=error.problem, passed=False)
        return None, [failed]
    by = f", signed with {bundle.trust.fingerprint}" if bundle.trust else ""
    actual = f"{bundle.manifest.name}, {bundle.digest}{by}"
    checks = [judged("IQ", name, expected=expected, actual=actual, passed=True)]
    if not signed:
        checks.append(
            Check(
                part="IQ",
                name="signature",
                expected="the bundle is signed with a key that is trusted here",
                actual="no key was given with --trust",
                outcome="not done",
            )
        )
    return bundle if files_right else None, checks


def _make_sbom(folder: Path) -> tuple[Sbom | None, Check]:
    name, expected = "software bill of materials", "a CycloneDX file that lists c2t"
    if not can_make_sbom():
        missing = Check(part="IQ", name=name, expected=expected, actual=HOW, outcome="not done")
        return None, missing
    try:
        made = write_sbom(folder)
    except SbomError as error:
        return None, judged("IQ", name, expected=expected, actual=error.problem, passed=False)
    actual = f"{made.file} lists {made.components:,} packages ({made.made_by})"
    return made, judged("IQ", name, expected=expected, actual=actual, passed=True)


def _facts(path: Path, bundle: Bundle | None) -> BundleFacts:
    place = os.path.realpath(path)
    if bundle is None:
        return BundleFacts(path=place)
    return BundleFacts(
        path=place,
        name=bundle.manifest.name,
        precision=str(bundle.manifest.precision),
        digest=bundle.digest,
        signed_by=bundle.trust.fingerprint if bundle.trust else "",
    )


def _driver() -> str:
    """What the NVIDIA driver says of itself; "": there is none, or no Linux."""
    try:
        return DRIVER.read_text(encoding="utf-8", errors="replace").splitlines()[0][:200]
    except (OSError, IndexError):
        return ""


def _kernels() -> str:
    status = native_status()
    return f"{status.isa}, {status.library or status.reason}"
