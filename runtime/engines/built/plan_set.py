"""The record of a plan set: the contents of `plans.json`, and the key it is found by.

One decision: everything that makes a plan differ from another is in its identity, and the key is a
hash of all of it. So a plan is never mistaken for one of another bundle, GPU, library or use.
"""

import hashlib

import msgspec

from c2t.runtime.bundle.manifest import FileEntry
from c2t.runtime.engines.built.plan_profiles import Profile
from c2t.runtime.engines.tensorrt_library import Target

PLANS_NAME = "plans.json"
FORMAT_VERSION = 1
KEY_DIGITS = 12


def digest_of(identity: object) -> str:
    """The end of a key, a hash of all fields of an identity."""
    encoded = msgspec.json.encode(identity, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:KEY_DIGITS]


# Format 1 calls a variant "form".
class PlanIdentity(msgspec.Struct, frozen=True, kw_only=True, rename={"variant": "form"}):
    """What plans were built from, with and for.

    Args:
        bundle_sha256: Hash of the bundle's manifest.
        target: "tensorrt" or "rtx".
        library_version: Of TensorRT.
        gpus: Compute capabilities, such as "sm_89".
        variant: Name of a `c2t.runtime.graphs.backend_variant.BackendVariant`.
        cache_capacity: Cache positions of a batch row.
        rows: Cells that are written at the same time.
        lean: Whether the lean runtime can run them.
        profiles: By graph file, in the plan's order.
    """

    bundle_sha256: str
    target: Target
    library_version: str
    gpus: tuple[str, ...]
    variant: str
    cache_capacity: int
    rows: int
    lean: bool
    profiles: dict[str, tuple[Profile, ...]]

    @property
    def key(self) -> str:
        """A name for a folder: readable, and different for every other identity."""
        gpus = "+".join(gpu.replace("_", "") for gpu in self.gpus)
        variant = self.variant.partition(",")[0]
        kind = f"{variant}-lean" if self.lean else variant
        return f"{self.target}-{self.library_version}-{gpus}-{kind}-{digest_of(self)}"


# Format 1 calls linears "products".
class PlanFile(msgspec.Struct, frozen=True, kw_only=True, rename={"int8_linears": "int8_products"}):
    """One plan.

    Args:
        file: Its length and hash.
        weight_bytes: Of the graph that it was built from.
        int8_linears: Linears with int8 weights in that graph.
        kept_int8: Whether the plan is small enough to hold all int8 weights as they are. None where
            there are none, or where the model is too small to tell.
        seconds: How long the build took.
    """

    file: FileEntry
    weight_bytes: int
    int8_linears: int
    kept_int8: bool | None
    seconds: float


class PlanSet(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `plans.json`: plans by graph file."""

    format_version: int
    c2t_version: str
    created: str  # UTC, ISO 8601
    identity: PlanIdentity
    plans: dict[str, PlanFile]


def plan_name(graph: str) -> str:
    """File name of a graph's plan: "decoder.onnx" gives "decoder.plan"."""
    return f"{graph.removesuffix('.onnx')}.plan"
