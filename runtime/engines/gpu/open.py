"""The engines of a bundle on a GPU: which library runs the graphs is the only difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.tokens.cuda import DeviceTokenTable
from c2t.runtime.bundle.attention import check_attention
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tensors import Int8Rows
from c2t.runtime.engine_protocol import EncoderEngine, EngineOptions, Engines
from c2t.runtime.engines.built.folder import make_cache
from c2t.runtime.engines.built.half_graphs import (
    BUNDLE_PRECISIONS,
    INT8_PRECISION,
    half_graphs_command,
    open_half_graphs,
)
from c2t.runtime.engines.built.open_plans import open_plans
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.encoder import DeviceEncoder
from c2t.runtime.engines.gpu.graph import DeviceGraph, engine_error
from c2t.runtime.engines.gpu.onnxruntime_graph import OnnxRuntimeDeviceGraph
from c2t.runtime.engines.gpu.step_kernel import INT8_PRODUCTS, with_step_kernel
from c2t.runtime.engines.gpu.tensorrt_graph import TensorRTGraph
from c2t.runtime.engines.no_encoder import NoEncoder
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.engines.tensorrt_library import Target
from c2t.runtime.system.errors import BundleError, C2TError, EngineError
from c2t.runtime.system.timing import StageClock


def open_cuda_engines(
    bundle: Bundle, options: EngineOptions, clock: StageClock | None = None
) -> Engines:
    """Open a bundle with ONNX Runtime's CUDA provider.

    It runs the newest half-precision graphs that were built of the bundle, else the bundle's own.

    Args:
        options: How to open it; a named folder of graphs is not hashed.
        clock: Records the stages of the encoder.

    Raises:
        EngineError: The half-precision graphs are damaged; or see `open_onnxruntime_engines`.
    """
    hint = ""
    if options.graphs is None:
        options = replace(options, graphs=open_half_graphs(bundle))
        if options.graphs is None and bundle.manifest.precision in BUNDLE_PRECISIONS:
            hint = f"half precision is faster on a GPU: `{half_graphs_command(bundle)}` makes it"
    return replace(open_onnxruntime_engines(bundle, options, clock), hint=hint)


def open_onnxruntime_engines(
    bundle: Bundle,
    options: EngineOptions,
    clock: StageClock | None = None,
    *,
    plans: Path | None = None,
) -> Engines:
    """Open a bundle with ONNX Runtime on a GPU.

    Args:
        options: How to open it.
        clock: Records the stages of the encoder.
        plans: Folder for the plans of the TensorRT provider, which builds them at first use; None:
            the CUDA provider.

    Raises:
        EngineError: There is no GPU, a library is missing, the GPU's memory is full, or the
            decoder's attention is one that is not run there.
        OutputError: The folder for plans cannot be made.
    """
    check_attention(bundle.graph_alone("decoder.onnx"), "ONNX Runtime on a GPU", error=EngineError)
    device = _device(options)
    folder = options.graphs
    if plans is not None:
        make_cache(plans)

    steps = ""
    # Half-precision graphs of an INT8 bundle: its int8 weights in half precision, and activations
    # that are not quantised. Our kernel of the decoder's steps quantises them.
    built = folder is not None and folder.resolve() != bundle.path.resolve()
    widened = built and bundle.manifest.precision == INT8_PRECISION

    def graph(name: str) -> DeviceGraph:
        nonlocal steps
        path = bundle.file(name) if folder is None else folder / name

        def library() -> DeviceGraph:
            return OnnxRuntimeDeviceGraph(path, device, options, plans=plans)

        if name != "decoder.onnx" or folder is None or plans is not None:
            return library()
        made, steps = with_step_kernel(
            library,
            device,
            folder,
            bundle.manifest.decoder,
            cuda_graph=options.cuda_graph,
            source=bundle.file(name) if widened else None,
        )
        return made

    version = str(load_onnxruntime().__version__)
    name = "onnxruntime-cuda" if plans is None else "onnxruntime-tensorrt"
    engines = open_device_engines(bundle, device, graph, name=name, version=version, clock=clock)
    settings = engines.settings | ({"steps": steps} if steps else {})
    if widened:
        quantised = "quantised in the decoder alone" if INT8_PRODUCTS in steps else "not quantised"
        settings["precision"] = f"activations {quantised}, {settings['precision']}"
    return replace(engines, settings=settings)


def open_plan_engines(
    bundle: Bundle, target: Target, options: EngineOptions, clock: StageClock | None = None
) -> Engines:
    """Open a bundle's plans of TensorRT or TensorRT for RTX.

    Raises:
        EngineError: No plan set fits; see `c2t.runtime.engines.built.open_plans`.
    """
    plans = open_plans(bundle, target, rows=options.rows, capacity=options.capacity)
    device = _device(options)

    def graph(name: str) -> DeviceGraph:
        return TensorRTGraph(plans, name, device, cuda_graph=options.cuda_graph)

    library = plans.library
    name = library.name.replace("_", "-")
    engines = open_device_engines(
        bundle, device, graph, name=name, version=library.version, clock=clock
    )
    return replace(engines, fixed_shape=True)


def open_device_engines(
    bundle: Bundle,
    device: CudaDevice,
    graph: Callable[[str], DeviceGraph],
    *,
    name: str,
    version: str,
    clock: StageClock | None,
) -> Engines:
    """Engines over graphs that some library opens on a device.

    Args:
        graph: Opens the graph of a name, such as "decoder.onnx".
        name: Of the engine, as reports call it.
        version: Of the library.
        clock: Records the stages of the encoder.

    Raises:
        EngineError: A graph cannot be opened, or the GPU's memory is full.
        BundleError: What they read of the bundle is not as it was written.
    """
    manifest = bundle.manifest
    decoder_graph = graph("decoder.onnx")
    precision = decoder_graph.dtypes["inputs_embeds"]
    try:
        decoder = DeviceDecoder(
            device,
            decoder_graph,
            manifest.decoder,
            upload_token_table(bundle.token_embedding, precision),
        )
        encoder: EncoderEngine = NoEncoder()
        if manifest.has_encoder:
            encoder = DeviceEncoder(
                device,
                graph("encoder.onnx"),
                graph("projector.onnx"),
                bundle.gene_embedding_tables,
                manifest,
                clock,
            )
    except BundleError:  # what is wrong lies in the bundle
        raise
    except C2TError as error:
        raise engine_error(error, f"the bundle does not open on {device.name}") from error
    settings = {
        "engine": name,
        "version": version,
        "gpu": f"{device.name}, {device.arch}",
        "precision": f"{manifest.precision} weights, {precision} between layers",
    }
    return Engines(
        name=name,
        encoder=encoder,
        decoder=decoder,
        settings=settings,
        exclusive=device.exclusive,
    )


def upload_token_table(table: NDArray[Any] | Int8Rows, dtype: str) -> DeviceTokenTable:
    """A bundle's text token table, on the device.

    Args:
        table: The table; int8 stays int8.
        dtype: Of the decoder's input. For float16, float32 rows are rounded now instead of at every
            look-up: the same numbers in half the memory.
    """
    if isinstance(table, Int8Rows):
        return DeviceTokenTable.upload(table.values, table.scale)
    rows = np.asarray(table)
    if dtype == "float16":
        with np.errstate(over="ignore"):  # what is too large becomes infinite, as on the device
            rows = rows.astype(np.float16, copy=False)
    return DeviceTokenTable.upload(rows)


def _device(options: EngineOptions) -> CudaDevice:
    try:
        return CudaDevice(options.device)
    except C2TError as error:
        raise engine_error(error, "no GPU engine") from error
