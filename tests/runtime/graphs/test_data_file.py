import numpy as np
import onnx

from c2t.runtime.graphs.data_file import CACHE_LINE, PAGE, DataFile, offset_of


def test_large_tensors_start_on_pages_small_ones_on_cache_lines(tmp_path):
    arrays = {
        "tiny": np.arange(3, dtype=np.float32),
        "scale": np.arange(300, dtype=np.float32),
        "weight": np.arange(80_000, dtype=np.int32).astype(np.int8).reshape(200, 400),
        "last": np.arange(999, dtype=np.float32),
    }
    with DataFile(tmp_path / "g.onnx") as data:
        tensors = {name: data.tensor(name, array) for name, array in arrays.items()}
    offsets = {name: offset_of(tensor) for name, tensor in tensors.items()}
    assert offsets["tiny"] is None
    assert offsets["weight"] % PAGE == 0
    assert offsets["last"] % CACHE_LINE == 0
    assert (tmp_path / "g.onnx.data").stat().st_size == offsets["last"] + 4 * 999
    for name, tensor in tensors.items():
        found = onnx.numpy_helper.to_array(tensor, base_dir=str(tmp_path))
        assert found.dtype == arrays[name].dtype
        assert (found == arrays[name]).all()


def test_blocks_are_joined(tmp_path):
    rows = np.random.default_rng(0).standard_normal((700, 40)).astype(np.float32)
    with DataFile(tmp_path / "g.onnx") as data:
        tensor = data.blocks("t", rows.dtype, rows.shape, (rows[:300], rows[300:].copy("F")))
    assert (onnx.numpy_helper.to_array(tensor, base_dir=str(tmp_path)) == rows).all()
