"""Whether the graphs of a bundle take and give what its manifest says.

An engine binds buffers by these names and sizes. Where a graph has others, it would fail in the
middle of the work, in words of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from c2t.runtime.bundle.graph_check import GraphEnds
from c2t.runtime.bundle.manifest import (
    DECODER_GRAPH,
    ENCODER_GRAPHS,
    TEXT_GRAPH,
    Decoder,
    Manifest,
)
from c2t.runtime.system.errors import BundleError

Shape = list[int | None]  # None: any number
Ends = tuple[dict[str, Shape], dict[str, Shape]]  # inputs and outputs

INT64 = 7  # number of the type in onnx.proto
INTEGERS = ("position_ids", "write_index", "kv_length", "logit_rows", "text_ids")


def check_ends(manifest: Manifest, ends: Mapping[str, GraphEnds]) -> None:
    """Compare inputs and outputs of a bundle's graphs with the manifest.

    Args:
        manifest: The manifest.
        ends: By graph file.

    Raises:
        BundleError: Names the first that is missing, unknown, or of another size.
    """
    for graph, (inputs, outputs) in _expected(manifest).items():
        problems = [
            *_differences("input", inputs, ends[graph].inputs),
            *_differences("output", outputs, ends[graph].outputs),
        ]
        if problems:
            problem = f"{graph} does not fit the manifest: it has {problems[0]}"
            raise BundleError(problem, hint="export the bundle again with this version of c2t")


def _expected(manifest: Manifest) -> dict[str, Ends]:
    """Inputs and outputs of each graph, by name."""
    expected: dict[str, Ends] = {}
    if manifest.has_encoder:
        genes, vectors = manifest.gene_input.hidden_size, manifest.projector.vectors
        encoder: Ends = ({"embeddings": [None, None, genes]}, {"hidden": [None] * 3})
        projector: Ends = (
            {"hidden": [None] * 3},
            {"cell_vectors": [None, vectors, manifest.vector_size]},
        )
        expected |= dict(zip(ENCODER_GRAPHS, (encoder, projector), strict=True))
    if manifest.has_decoder:
        expected[DECODER_GRAPH] = _decoder(manifest.decoder)
    if TEXT_GRAPH in manifest.graphs:
        size = manifest.space.size
        expected[TEXT_GRAPH] = ({"text_ids": [None, None]}, {"text_vectors": [None, size]})
    return expected


def _decoder(decoder: Decoder) -> Ends:
    cache: Shape = [None, decoder.kv_heads, None, decoder.head_size]
    arguments: dict[str, Shape] = {
        "inputs_embeds": [None, None, decoder.hidden_size],
        "position_ids": [None, None],
        "write_index": [None],
        "kv_length": [None],
        "logit_rows": [None, None],
    }
    names = decoder.cache_names
    return (
        arguments | {f"past_{name}": cache for name in names},
        {"logits": [None, None, decoder.vocabulary_size]}
        | {f"present_{name}": cache for name in names},
    )


def _differences(
    kind: str, expected: Mapping[str, Shape], there: Mapping[str, tuple[int, Shape]]
) -> Iterator[str]:
    for name in sorted(expected.keys() ^ there.keys()):
        yield f"no {kind} {name}" if name in expected else f"an {kind} {name}"
    for name, shape in expected.items():
        element, stated = there.get(name, (0, shape))
        sizes = zip(shape, stated, strict=False)
        if len(shape) != len(stated) or any(a != b for a, b in sizes if None not in (a, b)):
            yield f"an {kind} {name} of the shape {_text(stated)}, not {_text(shape)}"
        elif name in there and (name in INTEGERS) != (element == INT64):
            yield f"an {kind} {name} of the type {element}"


def _text(shape: Shape) -> str:
    return str(["any" if size is None else size for size in shape]).replace("'", "")
