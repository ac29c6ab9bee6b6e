"""Parts of gpu_engines.py: what is here, the kernels, the demo, the files of 1B sizes, RTX."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from c2t.runtime.system.machine import look_at_machine


def environment(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """What is here, as `c2t doctor` sees it."""
    from c2t.runtime.engines.check import ENGINES, check_engine

    machine = look_at_machine()
    note(
        gpus=[f"{g.name}, {g.sm}, {g.memory_bytes}" for g in machine.gpus],
        driver=machine.cuda_driver,
    )
    for name in ENGINES:
        found = check_engine(name, machine)
        note(**{name: found.version if found.runs else list(found.reasons)})


def kernels(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """All kernels against their definitions; then the two around a step, at Llama's vocabulary."""
    import gpu_kernels

    from c2t.kernels.cuda.device import CudaDevice
    from c2t.kernels.cuda.memory import DeviceArray
    from c2t.kernels.tokens.cuda import (
        DeviceTokenTable,
        choice_scratch_bytes,
        launch_choose_tokens,
        launch_token_rows,
    )
    from c2t.kernels.tokens.definition import choose_tokens_reference, token_rows_reference

    device, draw = CudaDevice(), np.random.default_rng(0)
    note(embedding=gpu_kernels.check_embedding(device, draw))
    checks = 0
    for storage in ("float32", "float16", "int8"):
        rows = (draw.standard_normal((300, 2048)) * 50).astype(storage)
        scale = draw.random(300).astype(np.float32) if storage == "int8" else None
        ids = draw.integers(-1, 300, 77).astype(np.int32)
        given = draw.standard_normal((77, 2048), np.float32)
        table = DeviceTokenTable.upload(rows, scale)
        inputs = DeviceArray.upload(ids), DeviceArray.upload(given)
        for dtype in ("float32", "float16", "uint16"):
            out = DeviceArray.allocate((77, 2048), dtype)
            launch_token_rows(
                device,
                table,
                token_ids=inputs[0].pointer,
                given=inputs[1].pointer,
                out=out.pointer,
                count=77,
                dtype=dtype,
            )
            device.synchronize()
            expected = token_rows_reference(ids, rows, scale, given, dtype)
            np.testing.assert_array_equal(out.download(), expected)
            checks += 1
    for vocabulary, dtype in ((128_256, "float32"), (128_256, "float16"), (97, "float32")):
        logits = (draw.standard_normal((40, vocabulary)) * 5).astype(dtype)
        logits[1, 50] = logits[1, 7] = 60
        logits[2, 5], logits[3, 6] = np.nan, np.inf
        banned = draw.integers(-1, vocabulary, (40, 9)).astype(np.int32)
        banned[4:, 0] = logits[4:].argmax(axis=1)
        on_device = DeviceArray.upload(logits), DeviceArray.upload(banned)
        scratch = DeviceArray.zeros((choice_scratch_bytes(40, vocabulary),), np.uint8)
        result = [DeviceArray.allocate((40,), kind) for kind in ("i4", "f4", "i4")]

        def choose(
            count: int = 40,
            on_device: Any = on_device,
            scratch: Any = scratch,
            result: Any = result,
            dtype: str = dtype,
        ) -> None:
            launch_choose_tokens(
                device,
                logits=on_device[0].pointer,
                dtype=dtype,
                banned=on_device[1].pointer,
                bans=9,
                scratch=scratch.pointer,
                tokens=result[0].pointer,
                probability=result[1].pointer,
                finite=result[2].pointer,
                count=count,
                vocabulary_size=on_device[0].shape[1],
            )

        choose()
        device.synchronize()
        expected = choose_tokens_reference(logits, banned)
        tokens, probability, finite = (array.download() for array in result)
        good = expected[2]
        np.testing.assert_array_equal(finite.astype(bool), good)
        np.testing.assert_array_equal(tokens[good], expected[0][good])
        np.testing.assert_allclose(probability[good], expected[1][good], rtol=1e-4)
        for count in (1, 17, 40):  # whatever the number of rows, and each launch after another
            choose(count)
            device.synchronize()
            for before, array in zip((tokens, probability, finite), result, strict=True):
                assert array.download().tobytes() == before.tobytes()
        checks += 1
        if vocabulary > 1000 and dtype == "float32":
            times = {n: gpu_kernels.device_seconds(device, lambda n=n: choose(n)) for n in (1, 17)}
            note(choose_seconds=times)
    note(token_checks=checks)


def demo(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """The demo bundle on a GPU: every text token for token that of the CPU engine.

    In float16 a text may differ from the CPU's; drafts may change none of one cell at a time.
    """
    from c2t.runtime.build.build_half_graphs import CudaSetOptions, build_cuda_set
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.cells.encoded_cells import EncodedCells
    from c2t.runtime.describe.describer import DescribeOptions, Describer

    folder = options.scratch / "demo"
    shutil.copytree(options.demo, folder, dirs_exist_ok=True)
    bundle = open_bundle(folder)
    cells = [cell.gene_tokens for cell in bundle.golden.cells]
    cells += [cell[: 1 + len(cell) // 2] for cell in cells]

    def describe(name: str, **choices: Any) -> list[Any]:
        describer = Describer(bundle, DescribeOptions(**choices))
        since = perf_counter()
        found = list(describer.describe([EncodedCells.of_tokens(cells)]))
        seconds = perf_counter() - since
        note(**{name: {"seconds": seconds, "engine": describer.engines.label}})
        return [(f.tokens, f.error) for f in found]

    cpu = describe("cpu", engine="cpu")
    beams = describe("cpu, 3 beams", engine="cpu", drafts=False, num_beams=3)
    same = {
        "drafts": describe("cuda", engine="cuda") == cpu,
        "no drafts": describe("cuda, no drafts", engine="cuda", drafts=False) == cpu,
        "beams": describe("cuda, 3 beams", engine="cuda", drafts=False, num_beams=3) == beams,
    }
    note(cells=len(cells), same_texts=same)
    build_cuda_set(bundle, CudaSetOptions())
    half = describe("float16", engine="cuda", batch_size=1)
    single = describe("float16, no drafts", engine="cuda", batch_size=1, drafts=False)
    several = describe("float16, all cells together", engine="cuda")
    same |= {"float16, drafts": half == single, "float16, together": several == single}
    note(
        same_texts=same,
        float16_texts_of_cpu=sum(a == b for a, b in zip(single, cpu, strict=True)),
    )


def fill(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """The 1B bundle with random weights, and its set of half-precision graphs."""
    from random_bundle import fill as fill_bundle

    from c2t.runtime.build.build_half_graphs import CudaSetOptions, build_cuda_set
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.bundle.manifest import GRAPHS

    if options.skeleton is None:
        note(**{"not executed": "no skeleton of a 1B bundle was given"})
        return
    folder = options.scratch / "bundle"
    since = perf_counter()
    fill_bundle(options.skeleton, folder)
    note(fill_seconds=perf_counter() - since)
    since = perf_counter()
    built = build_cuda_set(open_bundle(folder, verify=False), CudaSetOptions())
    note(set_seconds=perf_counter() - since)
    # By the names of the decoder's part: with the description of the weights, and without.
    link(options.scratch / "float16", Path(built.folder).resolve())
    graphs = options.scratch / "float16-graphs"
    graphs.mkdir(exist_ok=True)
    for name in GRAPHS:
        for file in (name, f"{name}.data"):
            link(graphs / file, Path(built.folder).resolve() / file)


def link(place: Path, target: Path) -> None:
    """Make a link, or make it anew."""
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def rtx(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """One honest try: does a plan of TensorRT for RTX, built for sm_80, load and run here?"""
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.engines.built.open_plans import open_plans
    from c2t.runtime.engines.tensorrt_library import Target, load_tensorrt

    library = load_tensorrt(Target.rtx)
    note(version=library.version)
    if options.plans is None:
        note(**{"not executed": "no plans were given"})
        return
    machine = look_at_machine()
    # The GPU is named as what the plan was built for: the check that stops this is ours to skip.
    gpu = replace(machine.gpus[0], compute_capability="8.0")
    played = replace(machine, gpus=(gpu,))
    opened = open_plans(open_bundle(options.demo), Target.rtx, cache=options.plans, machine=played)
    note(loaded=sorted(opened.engines))
    for name, engine in opened.engines.items():
        note(**{f"context of {name}": engine.create_execution_context() is not None})
