"""TensorRT's plans on a GPU: built here, opened and run, or refused with the GPU's name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from gpu_checks import LOGIT_TOLERANCE, check_bundle_logits

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.choose import choose_engines
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.machine import look_at_machine

pytestmark = pytest.mark.gpu

PACKAGES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}


@pytest.mark.parametrize("engine", list(PACKAGES))
def test_plans_run_or_are_refused_by_name(bundle: Bundle, engine: str) -> None:
    pytest.importorskip(PACKAGES[engine], reason=f"not installed: c2t[{engine}]")
    with pytest.raises(EngineError) as caught:
        choose_engines(bundle, engine, EngineOptions())  # nothing was built yet
    if caught.value.problem.startswith(f"engine {engine} does not work here"):
        pytest.skip(caught.value.problem)
    program = [sys.executable, "-P", "-c", "from c2t.cli import main; main()"]
    options = ["--target", engine]
    options += ["--gpu", look_at_machine().gpus[0].sm] if engine == "rtx" else []
    subprocess.run([*program, "build", str(bundle.path), *options], check=True, timeout=600)
    capacity = bundle.manifest.prompt_length + bundle.manifest.generation.max_new_tokens
    for cuda_graph in (True, False):
        request = EngineOptions(capacity=capacity, cuda_graph=cuda_graph)
        decoder = choose_engines(bundle, engine, request).engines.decoder
        check_bundle_logits(bundle, decoder, LOGIT_TOLERANCE["float16"])
