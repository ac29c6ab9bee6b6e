"""An INT8 bundle's encoder on our own kernel, its projector too where the kernel knows it.

One decision: the kernel is used only after it gave what ONNX Runtime gives for cells of the
bundle's own genes. ONNX Runtime computes that piece by piece: no session holds all weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from c2t.kernels.encoder.cpu import (
    CpuEncoder,
    Encoded,
    PackedEncoder,
    encoder_kernels,
    encoder_problem,
    projector_problem,
)
from c2t.kernels.encoder.weights import HostProjector
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.mapped import give_back
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.cpu.agreement import row_differences, rows_disagreement
from c2t.runtime.engines.cpu.piecewise import run_in_pieces
from c2t.runtime.engines.cpu.projector_alone import ProjectorAlone
from c2t.runtime.engines.cpu.session import RUN_HINT, ChangedGraph, is_prepacked
from c2t.runtime.engines.known_encoder.recognise import recognise_encoder
from c2t.runtime.engines.known_encoder.recognise_projector import (
    UnknownProjectorError,
    recognise_projector,
)
from c2t.runtime.system.errors import BundleError, EngineError

# Norm of a row's difference from ONNX Runtime's, as a share of its norm: of the median row, and of
# the worst. Random weights of V2-104M's sizes gave 2.5 %, nearly all of it by INT8 attention; the
# wrong heads or a wrong layer would give more than 100 %.
TOLERANCES = 0.1, 0.5
# Likewise behind some layers, which get what ONNX Runtime gave before: 0.2 % of the median, 1 % of
# the worst row, for nothing adds up.
LAYER_TOLERANCES = 0.01, 0.1
CHECK_GENES = 150  # more than a tile of rows and than a block of keys, and no multiple of anything
LAYER_RESULT, HIDDEN = "layers.{}.mlp.norm", "hidden"


class KernelLayers:
    """See `c2t.runtime.engines.cpu.encoder.Layers`."""

    def __init__(self, kernel: CpuEncoder) -> None:
        self._kernel = kernel
        self.projects = bool(kernel.packed.struct.projector)

    def clone(self) -> KernelLayers:
        """See `Layers.clone`."""
        return KernelLayers(self._kernel.clone())

    def run(self, embeddings: Float32) -> Encoded:
        """Run all layers, and the projector behind them; the embeddings are used up.

        Raises:
            EngineError: There is no memory.
        """
        try:
            return self._kernel.run(embeddings, used_up=True)
        except MemoryError as error:
            problem = f"encoder failed on input {list(embeddings.shape)}: {error}"
            raise EngineError(problem, hint=RUN_HINT) from error


def open_layers(
    bundle: Bundle, changed: ChangedGraph, options: EngineOptions
) -> tuple[KernelLayers | None, str]:
    """An encoder's layers on our kernel, where it can run them and gives the right numbers.

    Args:
        bundle: Any.
        changed: Its encoder with INT8 attention, see `choose_attention`.
        options: Threads.

    Returns:
        The layers, or None; and which it is, in words ("": our kernel is not wanted).
    """
    if not options.encoder_kernel:
        return None, ""
    try:
        kernel = _on_kernel(bundle, changed, options)
    except _NotHereError as reason:
        problem = str(reason)
    except MemoryError:
        problem = "no memory for its copy of the weights"
    except (KernelError, BundleError, EngineError) as error:
        problem = error.problem
    else:
        layers = KernelLayers(kernel)
        what = "all layers and the projector" if layers.projects else "all layers"
        return layers, f"{what} are one kernel"
    return None, f"layers without our kernel: {problem}"


class _NotHereError(Exception):
    """Why ONNX Runtime runs the layers."""


def _on_kernel(bundle: Bundle, changed: ChangedGraph, options: EngineOptions) -> CpuEncoder:
    """Our kernel, compared with ONNX Runtime on this machine.

    Raises:
        _NotHereError: It cannot run here, or gives other numbers.
        KernelError: A matrix that the library does not take.
        BundleError: The graph is another one.
        EngineError: ONNX Runtime cannot run a piece of the graph.
        MemoryError: There is no memory for the weights.
    """
    path = bundle.file("encoder.onnx")
    if not is_prepacked(path, options):
        problem = "weights are not copied"
        raise _NotHereError(problem)
    kernels = encoder_kernels()
    if kernels is None:
        problem = "there is none for this processor"
        raise _NotHereError(problem)
    known = recognise_encoder(path)
    if problem := _differences(bundle, known.heads, known.hidden_size) or encoder_problem(known):
        raise _NotHereError(problem)
    embeddings = _checked_cells(bundle)
    results = [LAYER_RESULT.format(layer) for layer in range(len(known.layers))]
    # Before the kernel's copy of the weights is there, so that they never lie in memory twice.
    mapped = replace(options, prepack=False)
    given = {"embeddings": embeddings}
    expected = run_in_pieces(path, [*results, HIDDEN], given, mapped, changed=changed)
    projector = _projector(bundle, known.hidden_size)
    packed = PackedEncoder(kernels, known, projector, threads=options.threads)
    kernel = CpuEncoder(packed, threads=options.threads, spin=options.spin)
    try:
        found = kernel.run(embeddings)
    except MemoryError:
        problem = "no memory for its activations"
    else:
        problem = _layers_disagreement(packed, embeddings, expected, options) or _disagreement(
            found.hidden, expected[HIDDEN]
        )
    if problem:
        kernel.close()
        raise _NotHereError(problem)
    if found.vectors is None or _projects_as_onnx_runtime(bundle, found, mapped):
        return kernel
    kernel.close()
    alone = packed.part(0, len(known.layers))
    return CpuEncoder(alone, threads=options.threads, spin=options.spin)


def _projector(bundle: Bundle, hidden_size: int) -> HostProjector | None:
    """The bundle's projector, where the kernel can run it; else ONNX Runtime does."""
    try:
        projector = recognise_projector(bundle.file("projector.onnx"))
    except UnknownProjectorError:
        return None
    return None if projector_problem(projector, hidden_size) else projector


def _projects_as_onnx_runtime(bundle: Bundle, found: Encoded, options: EngineOptions) -> bool:
    """Whether the kernel's cell vectors are those that ONNX Runtime makes of its hidden states."""
    hidden, vectors, _ = found
    expected = ProjectorAlone(bundle.file("projector.onnx"), options).project(hidden)
    if vectors is None or vectors.shape != expected.shape:
        return False
    differences = row_differences(vectors, expected)
    return not rows_disagreement(differences, LAYER_TOLERANCES, what="cell vectors", row="row")


def _checked_cells(bundle: Bundle) -> Float32:
    """Embeddings [2,S,H] of cells of random genes, for the comparison."""
    tables, sizes = bundle.gene_embedding_tables, bundle.manifest.gene_input
    genes = min(CHECK_GENES, sizes.input_size)
    tokens = np.random.default_rng(0).integers(0, sizes.vocabulary_size, (2, genes), np.int32)
    lengths = np.full(len(tokens), genes, np.int32)
    embeddings = np.empty((*tokens.shape, tables.hidden_size), np.float32)
    embed_genes(tokens, lengths, tables, embeddings)
    give_back(tables.word)
    give_back(tables.position)
    return embeddings


def _layers_disagreement(
    packed: PackedEncoder,
    embeddings: Float32,
    expected: dict[str, Float32],
    options: EngineOptions,
) -> str:
    """How the kernel's layers differ, each given what ONNX Runtime's gave before it; "": not.

    Differences do not add up here, so a small fault of one layer is seen.
    """
    layers = packed.struct.layer_count
    ends = {LAYER_RESULT.format(layer): layer + 1 for layer in range(layers)}
    before, first = embeddings, 0
    for name, value in expected.items():
        end = ends.get(name, layers)
        if first == end or len(expected) == 1:
            continue  # all layers, or none
        part = CpuEncoder(packed.part(first, end), threads=options.threads, spin=options.spin)
        try:
            ours = part.run(before).hidden
        except MemoryError:
            return "no memory for its activations"
        finally:
            part.close()
        if ours.shape != value.shape:
            return f"it gives {list(ours.shape)}, ONNX Runtime {list(value.shape)}"
        what = f"hidden states behind layers {first} to {end - 1}"
        differences = row_differences(ours, value)
        if problem := rows_disagreement(differences, LAYER_TOLERANCES, what=what, row="gene"):
            return problem
        before, first = value, end
    return ""


def _disagreement(ours: Float32, expected: Float32) -> str:
    """How the kernel's hidden states differ from the expected ones; "" where they do not."""
    if ours.shape != expected.shape:
        return f"it gives {list(ours.shape)}, ONNX Runtime {list(expected.shape)}"
    differences = row_differences(ours, expected)
    return rows_disagreement(differences, TOLERANCES, what="hidden states", row="gene")


def _differences(bundle: Bundle, heads: int, hidden_size: int) -> str:
    """Where the graph's sizes are not the manifest's."""
    manifest = bundle.manifest
    for name, ours, theirs in (
        ("heads", heads, manifest.encoder.heads),
        ("hidden_size", hidden_size, manifest.gene_input.hidden_size),
    ):
        if ours != theirs:
            return f"the graph has {name} {ours}, the manifest {theirs}"
    return ""
