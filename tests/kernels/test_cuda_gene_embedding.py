"""The CUDA source of the gene embedding, emulated on the host, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from emulation.device import EmulatedDevice
from fakes.cuda_driver import FakeDriver
from tolerance import FLOAT32, worst_difference

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cuda import DeviceCells, DeviceTables, launch_gene_embedding
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables, convert_tables


def random_tables(hidden_size: int) -> GeneEmbeddingTables:
    draw = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(np.float32)

    return GeneEmbeddingTables(
        word=normal(20, hidden_size),
        position=normal(6, hidden_size),
        token_type=normal(hidden_size),
        gamma=normal(hidden_size),
        beta=normal(hidden_size),
    )


@pytest.mark.parametrize(
    ("hidden_size", "storage", "dtype"),
    [(7, "float32", "float32"), (256, "int8", "uint16"), (63, "int8", "int8")],
)
def test_embeddings_are_those_of_the_definition(
    hidden_size: int, storage: str, dtype: str, driver: FakeDriver
) -> None:
    tables = convert_tables(random_tables(hidden_size), np.dtype(storage))
    tokens = np.random.default_rng(1).integers(0, 20, (3, 5)).astype(np.int32)
    lengths = np.array([5, 0, 2], np.int32)
    scale = 0.03 if dtype == "int8" else None
    out = DeviceArray.upload(np.full((3, 5, hidden_size), 0x2B, dtype))
    launch_gene_embedding(
        EmulatedDevice(),
        DeviceCells.upload(tokens, lengths, tables),
        DeviceTables.upload(tables),
        out.pointer,
        dtype=dtype,
        out_scale=scale,
    )
    result = out.download()
    expected = embed_genes_reference(
        tokens, lengths, tables, np.empty_like(result), out_scale=scale
    )
    if dtype == "uint16":
        result, expected = (
            (a.astype(np.uint32) << 16).view(np.float32) for a in (result, expected)
        )
    tolerance = {"float32": FLOAT32, "uint16": 2.0**-7, "int8": 0}[dtype]
    assert worst_difference(result, expected) <= tolerance


def test_arguments_that_do_not_fit_are_refused(driver: FakeDriver) -> None:
    tables = random_tables(8)
    on_device = DeviceTables.upload(tables)
    tokens, lengths = np.zeros((1, 6), np.int32), np.array([6], np.int32)
    with pytest.raises(KernelError, match="gene token 20"):
        DeviceCells.upload(tokens + np.int32(20), lengths, tables)
    cells = DeviceCells.upload(tokens, lengths, tables)
    device, out = EmulatedDevice(), DeviceArray.allocate((1, 6, 8), np.float32).pointer
    for wrong in ({"dtype": "int8"}, {"dtype": "float32", "out_scale": 0.1}):
        with pytest.raises(KernelError, match="scale"):
            launch_gene_embedding(device, cells, on_device, out, **wrong)
    with pytest.raises(KernelError, match="address"):
        launch_gene_embedding(device, cells, on_device, out + 4, dtype="float32")
    longer = DeviceCells(
        tokens=DeviceArray.upload(np.zeros((1, 7), np.int32)), lengths=cells.lengths
    )
    with pytest.raises(KernelError, match="7 ranks of 6 positions"):
        launch_gene_embedding(device, longer, on_device, out, dtype="float32")
