"""The examples for Ray and Triton, with stand-ins for what cannot run here; the rest is real."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_process import ENVIRONMENT, make_cells
from tiny_data import BUNDLES

import c2t
from c2t.examples.scale_out.ray_pool import describe_with
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file

EXAMPLES = Path(c2t.__file__).parent / "examples" / "scale_out"
N = 600


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", N)


@pytest.fixture(scope="module")
def job(cells: Path) -> Path:
    path = cells.with_name("job.json")
    command = [sys.executable, EXAMPLES / "make_job.py", BUNDLES["mlp"], cells]
    done = subprocess.run(
        [*map(str, command), "-o", str(path), "--threads", "1"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}: {N} cells\n"
    return path


@pytest.fixture(scope="module")
def expected(cells: Path) -> bytes:
    stream = io.BytesIO()
    describe_file(
        open_bundle(BUNDLES["mlp"]),
        DescribeFileOptions(cells=cells),
        stream=stream,
        report=lambda sentence: None,
    )
    return stream.getvalue()


class FakeRay:
    """`remote` and `get` as far as the example needs them; tasks run when they are asked for."""

    def remote(self, **_: object) -> Any:
        def decorate(kind: Any) -> Any:
            return SimpleNamespace(remote=lambda *given: self._actor(kind(*given)))

        return decorate

    def get(self, task: Any) -> Any:
        return [self.get(one) for one in task] if isinstance(task, list) else task()

    def _actor(self, made: Any) -> Any:
        def method(name: str) -> Any:
            return SimpleNamespace(remote=lambda *given: lambda: getattr(made, name)(*given))

        return SimpleNamespace(size=method("size"), describe=method("describe"))


def test_ray_pool(job: Path, expected: bytes) -> None:
    assert b"".join(describe_with(FakeRay(), job.read_bytes(), 2)) == expected


class FakeSender:
    """What a request's sender was given."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.ended = False

    def send(self, response: Any = None, *, flags: int = 0) -> None:
        assert not self.ended
        if response is not None:
            self.sent.append(response)
        self.ended = flags == 1


def fake_request(start: int, stop: int) -> Any:
    sender = FakeSender()
    inputs = {"START": np.array([start]), "STOP": np.array([stop])}
    return SimpleNamespace(inputs=inputs, sender=sender, get_response_sender=lambda: sender)


@pytest.fixture
def model(job: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model of the repository, loaded as Triton loads it."""
    backend: Any = ModuleType("triton_python_backend_utils")
    backend.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    backend.TritonModelException = RuntimeError
    backend.TritonError = str
    backend.Tensor = lambda name, values: SimpleNamespace(name=name, values=values)
    backend.InferenceResponse = lambda output_tensors, error=None: SimpleNamespace(
        tensors=output_tensors, error=error
    )
    backend.get_input_tensor_by_name = lambda request, name: SimpleNamespace(
        as_numpy=lambda: request.inputs[name]
    )
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    place = EXAMPLES / "triton" / "c2t_describe" / "1" / "model.py"
    spec = importlib.util.spec_from_file_location("triton_model", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.TritonPythonModel()
    config = {"parameters": {"job": {"string_value": str(job)}}}
    made.initialize({"model_config": json.dumps(config)})
    yield made
    made.finalize()


def test_triton_model(model: Any, expected: bytes) -> None:
    request, wrong = fake_request(10, N), fake_request(5, N + 1)
    model.execute([request, wrong])
    lines = [line for response in request.sender.sent for line in response.tensors[0].values]
    assert len(request.sender.sent) == 3  # 10 to 256, to 512, to 600
    assert request.sender.ended
    assert b"".join(lines) == b"".join(expected.splitlines(keepends=True)[10:])
    assert wrong.sender.ended
    (refused,) = wrong.sender.sent
    assert refused.error.startswith(f"cells 5 to {N + 1} are asked for")


def test_triton_model_without_its_job(model: Any, tmp_path: Path) -> None:
    config = {"parameters": {"job": {"string_value": str(tmp_path / "none.json")}}}
    with pytest.raises(RuntimeError, match=r"none\.json"):
        type(model)().initialize({"model_config": json.dumps(config)})
