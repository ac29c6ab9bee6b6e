"""The software bill of materials (CycloneDX), made by `cyclonedx-py` where it is installed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from c2t.runtime.system.errors import C2TError, first_line

SBOM_NAME = "sbom.cdx.json"
SPECIFICATION = "1.6"
SECONDS = 600
HOW = 'it needs cyclonedx-py, which is not installed: `pip install "c2t[qualify]"`'


@dataclass(frozen=True, kw_only=True)
class Sbom:
    """A bill of materials that was written.

    Attributes:
        file: Its name beside the report.
        sha256: Its hash.
        components: How many packages it lists.
        made_by: The program and its version.
    """

    file: str
    sha256: str
    components: int
    made_by: str


class SbomError(C2TError):
    """The bill of materials could not be made."""


def can_make_sbom() -> bool:
    """Whether cyclonedx-py is installed."""
    return find_spec("cyclonedx_py") is not None


def write_sbom(folder: Path) -> Sbom:
    """Write the bill of materials of the environment that this process runs in.

    Raises:
        SbomError: cyclonedx-py failed, or left c2t out.
    """
    target = folder / SBOM_NAME
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-format", "JSON"]
    # Its own check against the schema takes half a minute; what matters is looked at below.
    command += ["--no-validate", "--spec-version", SPECIFICATION]
    command += ["--output-file", str(target), sys.executable]
    hint = "run `cyclonedx-py environment` yourself to see why"
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
            # No module of the current folder, in the programs that it starts neither.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = f"cyclonedx-py did not run: {error}"
        raise SbomError(problem, hint=hint) from error
    try:
        content = target.read_bytes()
        document = json.loads(content)
        names = [component["name"] for component in document["components"]]
        if (document["bomFormat"], document["specVersion"]) != ("CycloneDX", SPECIFICATION):
            problem = f"it is {document['bomFormat']} {document['specVersion']}"
            raise ValueError(problem)
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = (ended.stderr.strip().splitlines() or [first_line(error)])[-1]
        problem = f"cyclonedx-py failed with exit code {ended.returncode}: {said}"
        raise SbomError(problem, hint=hint) from error
    root = document.get("metadata", {}).get("component", {}).get("name")
    if ended.returncode or "c2t" not in (*names, root):
        problem = f"cyclonedx-py (exit code {ended.returncode}) lists no c2t in its environment"
        raise SbomError(problem, hint=hint)
    return Sbom(
        file=SBOM_NAME,
        sha256=hashlib.sha256(content).hexdigest(),
        components=len(names),
        made_by=f"cyclonedx-py {_version()}, CycloneDX {SPECIFICATION}",
    )


def _version() -> str:
    try:
        return version("cyclonedx-bom")
    except PackageNotFoundError:
        return "of unknown version"
