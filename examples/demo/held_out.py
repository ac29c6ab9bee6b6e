"""Which cells the demonstration model has never seen.

The rule needs no list, so anybody can apply it to another copy of a data set: a cell is held out
when the first byte of the SHA-256 of its name is divisible by 5.
"""

import hashlib


def is_held_out(cell_id: str) -> bool:
    """Whether a cell is kept from training."""
    return hashlib.sha256(cell_id.encode()).digest()[0] % 5 == 0
