"""How much memory it takes to open a decoder: hardly more than its packed weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from c2t.kernels.decoder_step.cpu import step_kernels

LAYERS, WIDTH, WIDE, WORDS = 6, 768, 3072, 16000
# Beside the weights of 65 MB: what ONNX Runtime takes for itself, the largest linear of the file
# while it is packed, and the comparison.
MOST_BESIDE = 48 << 20
OPEN = """
import sys
from pathlib import Path
import msgspec
import numpy as np
from c2t.runtime.bench.record import peak_resident_bytes
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime

load_onnxruntime()
folder = Path(sys.argv[1])
sizes = msgspec.json.decode((folder / "sizes.json").read_bytes(), type=Decoder)
table = np.load(folder / "table.npy")
before = peak_resident_bytes()
decoder, said = open_decoder(folder / "decoder.onnx", sizes, table, EngineOptions(threads=2))
assert said == "every step is one kernel", said
print(peak_resident_bytes() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(step_kernels() is None, reason="no step of ours runs here")
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_a_decoder_is_opened_with_its_weights_in_memory_once(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    from c2t.calibration.quantise.quantised_graph import write_quantised
    from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
    from c2t.calibration.ranges.linears import StoredGraph
    from c2t.export.decoders.llama import FAMILY
    from c2t.runtime.bundle.precision import Precision

    config = transformers.LlamaConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        intermediate_size=WIDE,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=256,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    source = tmp_path / "float32.onnx"
    sizes = FAMILY.manifest_entry(config, FAMILY.write_graph(model, source))
    graph = StoredGraph(source)
    recipe = LinearRecipe(precision=Precision.int8, scale=0.05)
    linears = {linear.name: recipe for linear in graph.linears()}
    write_quantised(graph, tmp_path / "decoder.onnx", GraphRecipe(linears=linears))
    np.save(tmp_path / "table.npy", model.get_input_embeddings().weight.detach().numpy())
    (tmp_path / "sizes.json").write_bytes(msgspec.json.encode(sizes))
    done = subprocess.run(
        [sys.executable, "-P", "-c", OPEN, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    weights = (tmp_path / "decoder.onnx.data").stat().st_size
    assert int(done.stdout) < weights + MOST_BESIDE
