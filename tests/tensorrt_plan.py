"""Parsing and building graphs with TensorRT for RTX, which needs no GPU for either."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorrt_rtx
from tiny_models import TinySizes

Shape = tuple[int, ...]


class Messages(tensorrt_rtx.ILogger):
    """Keeps TensorRT's errors, silent otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: tensorrt_rtx.ILogger.Severity, text: str) -> None:
        # Probing for a driver is an error only to the logger: building goes on without a GPU.
        if severity <= tensorrt_rtx.ILogger.ERROR and "Cuda Runtime" not in text:
            self.errors.append(text)


@dataclass(frozen=True, kw_only=True)
class ParsedGraph:
    """A parsed network with what keeps it alive."""

    builder: tensorrt_rtx.Builder
    network: tensorrt_rtx.INetworkDefinition
    parser: tensorrt_rtx.OnnxParser
    messages: Messages


def parse_graph(path: Path) -> ParsedGraph:
    """Parse a graph file as a strongly typed network; fails with the parser's own words."""
    messages = Messages()
    builder = tensorrt_rtx.Builder(messages)
    flag = tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = tensorrt_rtx.OnnxParser(network, messages)
    parsed = parser.parse_from_file(str(path))
    problems = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    assert parsed, "\n".join(problems)
    return ParsedGraph(builder=builder, network=network, parser=parser, messages=messages)


def build_plan(
    path: Path, profiles: Mapping[str, tuple[Shape, Shape, Shape]], *, capability: str = "SM89"
) -> bytes:
    """Build a plan for a GPU that need not be here.

    Args:
        path: The graph file.
        profiles: Least, usual and largest shape of each input with dynamic dimensions.
        capability: The GPU's compute capability, for instance "SM89".
    """
    graph = parse_graph(path)
    config = graph.builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(tensorrt_rtx.ComputeCapability, capability), 0)
    profile = graph.builder.create_optimization_profile()
    for name, shapes in profiles.items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    plan = graph.builder.build_serialized_network(graph.network, config)
    assert plan is not None, "\n".join(graph.messages.errors)
    return bytes(plan)


def encoder_profile(width: int, *, longest: int) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Shapes of the encoder's input: one to four cells, up to `longest` genes."""
    return {"embeddings": ((1, 1, width), (1, longest // 2, width), (4, longest, width))}


def projector_profile(width: int, *, rows: int) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Shapes of the projector's input: one to four cells, up to `rows` rows."""
    return {"hidden": ((1, 1, width), (1, rows, width), (4, rows, width))}


def decoder_profile(
    *, layers: int, width: int, kv_heads: int, head_size: int, capacity: int, longest: int
) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Shapes of the decoder's inputs: one to four cells, one to `longest` tokens a step."""
    least, usual, most = (1, 1), (1, 1), (4, longest)
    profile: dict[str, tuple[Shape, Shape, Shape]] = {
        "inputs_embeds": ((*least, width), (*usual, width), (*most, width)),
        "position_ids": (least, usual, most),
        "logit_rows": (least, usual, (4, 4)),
        "write_index": ((1,), (1,), (4,)),
        "kv_length": ((1,), (1,), (4,)),
    }
    cache = (kv_heads, capacity, head_size)
    for layer in range(layers):
        for part in ("key", "value"):
            profile[f"past_{part}.{layer}"] = ((1, *cache), (1, *cache), (4, *cache))
    return profile


def tiny_profiles(sizes: TinySizes, *, capacity: int):
    """Profiles of all graphs of a tiny model, by the graph's name."""
    return {
        "encoder": encoder_profile(sizes.encoder_width, longest=sizes.encoder_positions),
        "mlp": projector_profile(sizes.encoder_width, rows=sizes.top_k),
        "perceiver": projector_profile(sizes.encoder_width, rows=sizes.encoder_positions),
        "decoder": decoder_profile(
            layers=sizes.decoder_layers,
            width=sizes.decoder_width,
            kv_heads=sizes.decoder_kv_heads,
            head_size=sizes.decoder_width // sizes.decoder_heads,
            capacity=capacity,
            longest=16,
        ),
    }
