"""An installation of c2t as a wheel leaves it: its files, and their hashes in RECORD."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from cli_process import ENVIRONMENT, Completed

import c2t
from c2t.kernels.native import native_status

PARTS = ("__init__.py", "py.typed", "cli.py", "export", "runtime", "kernels", "calibration")
MAIN = "import sys; sys.path[:0] = sys.argv.pop(1).split(chr(10)); "
MAIN += "from c2t.cli import main; main()"


def write_record(site: Path, name: str, version: str, metadata: str, files: list[Path]) -> Path:
    """Write the metadata of a package whose files lie in a site folder.

    Returns:
        The folder of its metadata.
    """
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(metadata)
    rows = []
    for file in sorted([*files, info / "METADATA"]):
        digest = hashlib.sha256(file.read_bytes()).digest()
        value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        rows.append(f"{file.relative_to(site).as_posix()},sha256={value},{file.stat().st_size}\n")
    rows.append(f"{info.name}/RECORD,,\n")
    (info / "RECORD").write_text("".join(rows))
    return info


def install_copy(site: Path) -> Path:
    """Install the c2t that is tested into a folder. Returns the package's folder."""
    source, target = Path(c2t.__file__).parent, site / "c2t"
    target.mkdir(parents=True)
    left_out = shutil.ignore_patterns("__pycache__", "csrc", "CMakeLists.txt")
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, ignore=left_out)
        else:
            shutil.copy(source / part, target / part)
    library = native_status().library  # of an editable installation, in another folder
    if library is not None and not (target / "kernels" / library.name).exists():
        shutil.copy(library, target / "kernels")
    files = [path for path in target.rglob("*") if path.is_file()]
    metadata = str(distribution("c2t").read_text("METADATA"))
    write_record(site, "c2t", c2t.__version__, metadata, files)
    return target


def run_installed(site: Path, *arguments: object) -> Completed:
    """Run the command of that installation, with the packages that are installed here."""
    path = [str(site), *(entry for entry in sys.path if entry.endswith("-packages"))]
    # -S: the editable installation that is tested must not come first.
    command = [sys.executable, "-S", "-c", MAIN, "\n".join(path), *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
    )
