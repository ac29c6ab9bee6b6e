"""Build the half-precision graphs of real sizes with TensorRT for RTX, and say what that takes.

    python benchmarks/tensorrt_rtx_build.py --work /some/folder [--part encoder] [--capability SM89]

Weights are random: times and sizes do not depend on them. No GPU is needed. Every build runs in a
process of its own, so that its peak memory is its own. Results: results/tensorrt_rtx_build.json.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results" / "tensorrt_rtx_build.json"
CAPACITY = 512
LONGEST_STEP = 320
ENCODER = {
    "vocab_size": 20275,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 4096,
    "hidden_act": "relu",
}
DECODER = {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
}


def write_graph(part: str, folder: Path) -> None:
    """Write the float32 graph of random weights and its float16 form."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

    from c2t.export.decoder_graph import write_decoder_graph
    from c2t.export.encoder_graph import write_encoder_graph
    from c2t.runtime.graphs.half_precision import write_half_precision

    torch.manual_seed(0)
    single, half = folder / f"{part}.onnx", folder / f"{part}.float16.onnx"
    if part == "encoder":
        write_encoder_graph(BertForMaskedLM(BertConfig(**ENCODER)), single, rows=256)
    else:
        write_decoder_graph(LlamaForCausalLM(LlamaConfig(**DECODER)), single)
    write_half_precision(single, half, cache_capacity=CAPACITY)


def build(part: str, folder: Path, capability: str) -> dict[str, float]:
    """Build one plan in this process; returns its figures."""
    sys.path.insert(0, str(ROOT.parent / "tests"))
    from tensorrt_plan import build_plan, decoder_profile, encoder_profile

    profile = (
        encoder_profile(ENCODER["hidden_size"], longest=4096)
        if part == "encoder"
        else decoder_profile(
            layers=DECODER["num_hidden_layers"],
            width=DECODER["hidden_size"],
            kv_heads=DECODER["num_key_value_heads"],
            head_size=DECODER["head_dim"],
            capacity=CAPACITY,
            longest=LONGEST_STEP,
        )
    )
    graph = folder / f"{part}.float16.onnx"
    start = time.perf_counter()
    plan = build_plan(graph, profile, capability=capability)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "plan_megabytes": round(len(plan) / 1e6, 1),
        "weights_megabytes": round((folder / f"{graph.name}.data").stat().st_size / 1e6, 1),
        "peak_resident_megabytes": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1
        ),
    }


def main() -> None:
    """Write what is missing, build each part for each capability, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the graphs (12 GB)")
    parser.add_argument("--part", action="append", choices=("encoder", "decoder"))
    parser.add_argument("--capability", action="append", help="SM86, SM89, SM120")
    parser.add_argument("--child", choices=("write", "build"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = options.part or ["encoder", "decoder"]
    capabilities = options.capability or ["SM86", "SM89", "SM120"]
    if options.child == "write":
        write_graph(parts[0], options.work)
        return
    if options.child == "build":
        print(json.dumps(build(parts[0], options.work, capabilities[0])))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    results["tensorrt_rtx"] = __import__("tensorrt_rtx").__version__
    results["precision"] = "float16, normalisations float32, strongly typed"
    for part in parts:
        command = [sys.executable, __file__, "--work", str(options.work), "--part", part]
        if not (options.work / f"{part}.float16.onnx").exists():
            subprocess.run([*command, "--child", "write"], check=True)
        for capability in capabilities:
            child = [*command, "--capability", capability, "--child", "build"]
            output = subprocess.run(child, check=True, capture_output=True, text=True).stdout
            figures = json.loads(output.splitlines()[-1])
            results.setdefault("plans", {})[f"{part} {capability}"] = figures
            print(part, capability, figures, flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
