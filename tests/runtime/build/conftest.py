"""Tiny bundles whose graphs TensorRT builds, float32 and INT8."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from int8_bundles import write_quantised
from tiny_bundle import make_bundle
from tiny_models import TinySizes

from c2t.runtime.bundle.bundle import Bundle


def buildable_sizes(projector: str = "mlp") -> TinySizes:
    """Heads 8 wide do not build (no fused attention); 16, 32 and 64 do."""
    return TinySizes(decoder_width=128, encoder_width=32, decoder_ffn=256, projector=projector)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Bundle]:
    """By projector and precision."""
    found = {}
    for projector in ("mlp", "perceiver", "qformer"):
        folder = tmp_path_factory.mktemp(projector)
        (folder / "fp32").mkdir()
        source = make_bundle(folder / "fp32", buildable_sizes(projector)).bundle
        found[projector, "fp32"] = source
        found[projector, "int8"] = write_quantised(source, folder / "int8")
    return found


@pytest.fixture(scope="session")
def quantised() -> Callable[..., Bundle]:
    """Makes a quantised bundle of a float32 one."""
    return write_quantised
