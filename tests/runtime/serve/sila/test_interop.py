"""The consortium's own tester against the real door."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from sila_door import opened

TESTER = "sila2_interop_communication_tester.test_client"


@pytest.mark.slow
@pytest.mark.parametrize("insecure", [False, True])
def test_the_interoperability_suite_passes(room, jobs, tmp_path: Path, insecure: bool) -> None:
    pytest.importorskip(TESTER)

    async def run() -> str:
        async with opened(room, jobs, tmp_path, insecure=insecure) as door:
            command = [sys.executable, "-P", "-m", TESTER, "sila_service"]
            command += ["--server-address", f"localhost:{door.port}"]
            if door.certificate_file is not None:
                command += ["--roots-cert-file", str(door.certificate_file)]
            tester = await asyncio.create_subprocess_exec(
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=tmp_path,
                env=os.environ | {"PYTEST_ADDOPTS": "-p no:cacheprovider"},
            )
            said, _ = await tester.communicate()
            assert tester.returncode == 0, said.decode()
            return said.decode()

    counts = re.search(r"=+ (\d+) passed(.*) in ", asyncio.run(run()))
    assert counts is not None
    assert (int(counts[1]), counts[2]) == (25, "")
