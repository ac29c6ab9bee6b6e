"""A bundle on a GPU with ONNX Runtime and our kernels: the CPU's logits, the CPU's texts.

Texts are compared token for token in float32. In float16 a text may differ from the CPU's, so
logits are compared, and texts only with those of other ways of the same engine.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_checks import (
    LOGIT_TOLERANCE,
    SPREAD,
    check_bundle_logits,
    check_rows_of_the_step_kernel,
    check_step_kernel,
    check_texts_of_the_cpu,
    describe_cells,
)

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.choose import choose_engines

pytestmark = pytest.mark.gpu


@pytest.fixture
def half(bundle: Bundle) -> Bundle:
    """The bundle with half-precision graphs, which `--engine cuda` then runs."""
    pytest.importorskip("onnx", reason="onnx is not installed: c2t[gpu]")
    if bundle.manifest.precision != "fp32":
        pytest.skip(f"half-precision graphs are made of fp32, not of {bundle.manifest.precision}")
    run_c2t("build", bundle.path, "--target", "cuda")
    return bundle


def run_c2t(*arguments: object) -> None:
    program = [sys.executable, "-P", "-c", "from c2t.cli import main; main()"]
    subprocess.run([*program, *map(str, arguments)], check=True, timeout=600)


def random_cell_vectors(bundle: Bundle) -> Any:
    shape = (bundle.manifest.projector.vectors, bundle.manifest.decoder.hidden_size)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * SPREAD


def open_decoder(bundle: Bundle, **options: Any) -> tuple[Any, str]:
    engines = choose_engines(bundle, "cuda", EngineOptions(**options)).engines
    return engines.decoder, engines.label


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_logits_in_float32(bundle: Bundle, cuda_graph: bool) -> None:
    decoder, label = open_decoder(bundle, cuda_graph=cuda_graph)
    assert "float32 between layers" in label
    check_bundle_logits(bundle, decoder, LOGIT_TOLERANCE["float32"])


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_logits_in_float16(half: Bundle, cuda_graph: bool) -> None:
    decoder, label = open_decoder(half, cuda_graph=cuda_graph)
    assert "float16 between layers" in label
    assert "without our kernel" not in label
    check_bundle_logits(half, decoder, LOGIT_TOLERANCE["float16"])


def test_short_steps_of_an_int8_bundle_read_its_weights(
    bundle: Bundle, cells: list[Any], tmp_path: Path
) -> None:
    """Where the kernel runs them, their logits were compared with the CPU's at opening."""
    pytest.importorskip("onnx", reason="onnx is not installed: c2t[gpu]")
    pytest.importorskip("scipy", reason="scipy is not installed: c2t[calibrate]")
    if bundle.manifest.precision != "fp32":
        pytest.skip(f"an INT8 bundle is made of fp32 here, not of {bundle.manifest.precision}")
    from int8_bundles import write_quantised

    int8 = write_quantised(bundle, tmp_path / "int8")
    run_c2t("build", int8.path, "--target", "cuda")
    decoder, label = open_decoder(int8)
    assert "int8 weights, float16 between layers" in label
    assert "without our kernel" not in label
    if "with int8 products" in label:  # heads of a size that the kernel takes
        vectors = random_cell_vectors(int8)
        check_step_kernel(decoder, int8.manifest.prompt, vectors)
        check_rows_of_the_step_kernel(decoder, int8.manifest.prompt, vectors)
    texts, _ = describe_cells(int8, cells, engine="cuda", batch_size=1, drafts=False)
    assert all(texts)


def test_texts_in_float32_are_those_of_the_cpu(bundle: Bundle, cells: list[Any]) -> None:
    check_texts_of_the_cpu(bundle, cells)


def test_texts_in_float16_do_not_depend_on_drafts(half: Bundle, cells: list[Any]) -> None:
    """Where short steps are one kernel: its numbers do not depend on the tokens of a step."""
    texts, label = describe_cells(half, cells, engine="cuda", batch_size=1, drafts=False)
    if "is one kernel" not in label:
        pytest.skip(f"the library runs short steps of this bundle: {label}")
    assert describe_cells(half, cells, engine="cuda", batch_size=1)[0] == texts
