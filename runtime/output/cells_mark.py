"""What tells one file of cells from another, or from itself after a change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.system.errors import OutputError

# A file up to this many bytes is hashed whole, in about a second. Of a longer one, the samples and
# the time of its last change are compared.
WHOLE_BYTES = 1 << 30
SAMPLES = 256
SAMPLE_BYTES = 64 << 10
READ_BLOCK = 4 << 20


@dataclass(frozen=True, kw_only=True)
class CellsMark:
    """A file of cells, as it was when a run began.

    Args:
        name: Its name without folders.
        bytes: Its length.
        sha256: Of all of it, or of evenly spread samples of a longer one, its two ends included.
        changed: Time of its last change in ns, for a longer one; 0 for one that was hashed whole,
            so that a copy is the same file.
    """

    name: str
    bytes: int
    sha256: str
    changed: int

    @staticmethod
    def of(path: Path) -> CellsMark:
        """Look at a file."""
        status = path.stat()
        whole = status.st_size <= WHOLE_BYTES
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            if whole:
                while block := stream.read(READ_BLOCK):
                    digest.update(block)
            else:
                last = status.st_size - SAMPLE_BYTES
                for number in range(SAMPLES):
                    stream.seek(last * number // (SAMPLES - 1))
                    digest.update(stream.read(SAMPLE_BYTES))
        return CellsMark(
            name=path.name,
            bytes=status.st_size,
            sha256=digest.hexdigest(),
            changed=0 if whole else status.st_mtime_ns,
        )

    def check_unchanged(self, path: Path, *, hint: str) -> None:
        """Refuse a file that is not as it was when the run began.

        Args:
            path: Where it was.
            hint: How to go on.

        Raises:
            OutputError: It was written to, exchanged, or cannot be read any more.
        """
        try:
            same = CellsMark.of(path) == self
        except OSError:
            same = False
        if not same:
            problem = f"{path} changed while it was described"
            raise OutputError(problem, hint=hint)
