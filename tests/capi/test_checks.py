"""The library from C: over a child and over a socket, under sanitizers and valgrind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ask_bundles import vector_bundle
from capi_programs import CHECKS, need
from tiny_data import JOINT

EVERYWHERE = ("arguments", "stream", "threads", "callbacks", "cancel", "timeout", "again", "call")
Build = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_over_a_socket(build: Build, run_checks: Run, served: Path, name: str) -> None:
    run_checks(build(CHECKS), name, "socket", served)


@pytest.mark.parametrize("name", ["threads", "cancel", "killed"])
def test_over_a_child(build: Build, run_checks: Run, tiny_bundle_folder: Path, name: str) -> None:
    run_checks(build(CHECKS), name, "bundle", tiny_bundle_folder)


def test_vectors_and_scores(build: Build, run_checks: Run) -> None:
    run_checks(build(CHECKS), "vectors", "bundle", JOINT)


def test_questions(build: Build, run_checks: Run, tmp_path: Path) -> None:
    run_checks(build(CHECKS), "ask", "bundle", vector_bundle(tmp_path / "asks"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["address,undefined", "thread"])
def test_other_families_under_sanitizers(
    build: Build, run_checks: Run, tmp_path: Path, kind: str
) -> None:
    checks = build(CHECKS, f"-fsanitize={kind}", "-fno-sanitize-recover=all")
    run_checks(checks, "vectors", "bundle", JOINT)
    run_checks(checks, "ask", "bundle", vector_bundle(tmp_path / "asks"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EVERYWHERE, "killed"])
@pytest.mark.parametrize("kind", ["address,undefined", "thread"])
def test_under_sanitizers(
    build: Build,
    run_checks: Run,
    served: Path,
    tiny_bundle_folder: Path,
    name: str,
    kind: str,
) -> None:
    checks = build(CHECKS, f"-fsanitize={kind}", "-fno-sanitize-recover=all")
    if name != "killed":
        run_checks(checks, name, "socket", served)
    if name != "again":
        run_checks(checks, name, "bundle", tiny_bundle_folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EVERYWHERE, "killed"])
def test_under_valgrind(
    build: Build, run_checks: Run, served: Path, tiny_bundle_folder: Path, name: str
) -> None:
    need("valgrind")
    valgrind = (
        *("valgrind", "-q", "--error-exitcode=9", "--leak-check=full"),
        *("--show-leak-kinds=all", "--errors-for-leak-kinds=all"),
    )
    checks = build(CHECKS)
    if name != "killed":
        run_checks(*valgrind, checks, name, "socket", served)
    if name not in ("again", "timeout"):
        run_checks(*valgrind, checks, name, "bundle", tiny_bundle_folder)
