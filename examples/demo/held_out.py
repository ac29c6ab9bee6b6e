"""Which cells the demonstration model has never seen, and what each of those is for.

The rules need no list, so anybody can apply them to another copy of a data set: a cell is held out
when the first byte of the SHA-256 of its name is divisible by 5. The threshold for unsure cells is
fitted on those held-out cells whose second byte is even; its figures are quoted of the others.
"""

import hashlib


def is_held_out(cell_id: str) -> bool:
    """Whether a cell is kept from training."""
    return hashlib.sha256(cell_id.encode()).digest()[0] % 5 == 0


def is_for_fitting(cell_id: str) -> bool:
    """Whether a held-out cell is one of those that the threshold is fitted on."""
    return hashlib.sha256(cell_id.encode()).digest()[1] % 2 == 0
