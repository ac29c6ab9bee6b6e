"""What is known of a set of plans: the contents of `plans.json`, and the key it is found by.

One decision: everything that makes a plan another plan is in its identity, and the key is a hash of
all of it. So a plan is never taken for one of another bundle, GPU, library or use.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from c2t.runtime.bundle.manifest import FileEntry
from c2t.runtime.engines.built.plan_profiles import Profile
from c2t.runtime.engines.tensorrt_library import Target

PLANS_NAME = "plans.json"
FORMAT_VERSION = 1
KEY_DIGITS = 12


def digest_of(identity: object) -> str:
    """The end of a key: other for every other identity, whatever kind of dataclass it is."""
    encoded = msgspec.json.encode(identity, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:KEY_DIGITS]


@dataclass(frozen=True, kw_only=True)
class PlanIdentity:
    """What plans were built from, with and for.

    Args:
        bundle_sha256: Hash of the bundle's manifest.
        target: "tensorrt" or "rtx".
        library_version: Of TensorRT.
        gpus: Compute capabilities, such as "sm_89".
        form: See `c2t.runtime.graphs.backend_form.BackendForm`.
        cache_capacity: Slots of the decoder's caches.
        rows: Cells that are written at the same time.
        lean: Whether the lean runtime can run them.
        profiles: By graph file, in the plan's order.
    """

    bundle_sha256: str
    target: Target
    library_version: str
    gpus: tuple[str, ...]
    form: str
    cache_capacity: int
    rows: int
    lean: bool
    profiles: dict[str, tuple[Profile, ...]]

    @property
    def key(self) -> str:
        """A name for a folder: readable, and different for every other identity."""
        gpus = "+".join(gpu.replace("_", "") for gpu in self.gpus)
        form = self.form.partition(",")[0]
        kind = f"{form}-lean" if self.lean else form
        return f"{self.target}-{self.library_version}-{gpus}-{kind}-{digest_of(self)}"


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """One plan.

    Args:
        file: Its length and hash.
        weight_bytes: Of the form that it was built from.
        int8_products: Products whose weights are int8 in that form.
        kept_int8: Whether the plan is small enough to hold all of them as they are; None where
            there are none, or where the model is too small to tell.
        seconds: What building it took.
    """

    file: FileEntry
    weight_bytes: int
    int8_products: int
    kept_int8: bool | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class PlanSet:
    """The contents of `plans.json`: plans by graph file."""

    format_version: int
    c2t_version: str
    created: str  # UTC, ISO 8601
    identity: PlanIdentity
    plans: dict[str, PlanFile]


def plan_name(graph: str) -> str:
    """File name of a graph's plan: "decoder.onnx" gives "decoder.plan"."""
    return f"{graph.removesuffix('.onnx')}.plan"
