"""How many cells are written at the same time, where the user does not say.

One decision: on a GPU as many as its free memory has room for, up to a bound; a step of many cells
takes little longer there than a step of few. Plans are built for a number of cells, which is kept.
"""

from __future__ import annotations

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import free_memory
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.describer import DescribeOptions, generation_settings
from c2t.runtime.describe.worker import cache_capacity
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.built.folder import plan_cache, plan_sets
from c2t.runtime.engines.check import gpu_reasons
from c2t.runtime.engines.table import ENGINES, EngineName
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.machine import Machine, look_at_machine

FEW_CELLS, MANY_CELLS = 8, 128
# Of a GPU's free memory, for weights, caches and logits; the rest is for activations and others.
USED_MEMORY = 0.7
DRAFT_TOKENS = 16  # that a step is taken to verify for each cell
# The most bytes of weights on the GPU, as a multiple of those in the bundle, by its precision: int8
# weights are there in half precision. The decoder's, where our kernel runs it, are as they are.
WEIGHTS = {"int8": 2}


def default_batch_size(
    bundle: Bundle, options: DescribeOptions, machine: Machine | None = None
) -> int:
    """Cells that are written at the same time.

    Args:
        bundle: What describes them.
        options: How; its `batch_size` is not looked at.
        machine: This machine; None: look at it.
    """
    machine = machine or look_at_machine()
    generation = generation_settings(bundle.manifest.generation, options)
    if generation.num_beams > 1 or not _runs_on_cuda(bundle, options.engine, machine):
        return FEW_CELLS
    manifest = bundle.manifest
    decoder = manifest.decoder
    draft = DRAFT_TOKENS if options.drafts else 0
    row = decoder.cache_bytes(cache_capacity(manifest, generation, draft=draft))
    row += 4 * decoder.vocabulary_size * (1 + draft)
    stored = sum(manifest.files[f"{graph}.data"].bytes for graph in manifest.graphs)
    free = USED_MEMORY * _free_bytes(EngineOptions().device)
    free -= WEIGHTS.get(manifest.precision, 1) * stored
    cells = int(min(free // row, MANY_CELLS)) // FEW_CELLS * FEW_CELLS
    return max(FEW_CELLS, cells)


def _free_bytes(device: int) -> int:
    """Memory of a GPU that nobody uses now; 0 where that cannot be told."""
    try:
        CudaDevice(device)  # makes it the current one
        return free_memory()
    except C2TError:  # opening the engine says why
        return 0


def _runs_on_cuda(bundle: Bundle, engine: str, machine: Machine) -> bool:
    """Whether ONNX Runtime on CUDA describes the cells: any number of them at a time."""
    if engine not in (EngineName.auto, EngineName.cuda) or not machine.gpus:
        return False
    if gpu_reasons(machine) or not ENGINES["cuda"].check(machine).runs:
        return False
    return engine == EngineName.cuda or not any(plan_sets(plan_cache(bundle)))
