"""A CUDA library with the machine code of one GPU left in it: small enough to carry to one.

The machine code of other GPUs, and of kernels that no graph here uses, is overwritten with zeros in
place: no address changes, the driver never loads it, and compressed it takes no room.

    python benchmarks/gpu_library.py LIBRARY.so 90    # writes the library; needs zstandard
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

CONTAINER = 0xBA55ED50  # fatbinary.h: FATBIN_MAGIC
MACHINE_CODE = 2
ZSTD = b"\x28\xb5\x2f\xfd"
# Mixtures of experts, weights of 4 bits, and flash attention of head sizes that no model here has.
UNUSED = re.compile(
    rb"[mM]oe|MoE|CollectiveMma|fpA_intB|Flash_fwd_kernel_traitsILi(96|128|192|256)|Sm75ELb|Sm70ELb"
)


def main() -> None:
    """Overwrite the library."""
    path, architecture = Path(sys.argv[1]), int(sys.argv[2])
    data = bytearray(path.read_bytes())
    kept = dropped = 0
    for start, size, target in entries(data):
        if target == architecture and not unused(bytes(data[start : start + size])):
            kept += size
        else:
            data[start : start + size] = bytes(size)
            dropped += size
    path.write_bytes(data)
    print(f"{path.name}: {kept / 1e6:.0f} MB of machine code kept, {dropped / 1e6:.0f} MB zeroed")


def entries(data: bytearray) -> Iterator[tuple[int, int, int]]:
    """Start, size and architecture of each piece of machine code in the ELF section of such."""
    at, end = section(data, b".nv_fatbin")
    while at + 16 <= end:
        magic, _, header, size = struct.unpack_from("<IHHQ", data, at)
        if magic != CONTAINER:
            at += 8
            continue
        at += header
        stop = at + size
        while at < stop:
            kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
            (target,) = struct.unpack_from("<I", data, at + 28)
            if kind == MACHINE_CODE:
                yield at + header, size, target
            at += header + size


def section(data: bytearray, name: bytes) -> tuple[int, int]:
    """First and last byte of a section of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, table + size * i) for i in range(count)]
    strings = headers[names][4]
    for header in headers:
        start = strings + header[0]
        if data[start : data.index(0, start)] == name:
            return header[4], header[4] + header[5]
    message = f"no section {name.decode()}"
    raise SystemExit(message)


def unused(code: bytes) -> bool:
    """Whether the first kernel of the code is one that no graph here needs."""
    if not code.startswith(ZSTD):
        return False
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(code)
    kernel = re.search(rb"\.text\.(_Z\w+)", raw)
    return bool(kernel and UNUSED.search(kernel.group(1)))


if __name__ == "__main__":
    main()
