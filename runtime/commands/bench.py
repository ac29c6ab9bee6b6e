"""The command `c2t bench`: its options, and nothing that takes long to load."""

from __future__ import annotations

import importlib
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from c2t.runtime.command_line.options import (
    BatchSizeOption,
    EngineOption,
    ForceOption,
    JsonOption,
    MaxNewTokensOption,
    NumBeamsOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.run import UsageError, import_stage, open_checked, say
from c2t.runtime.engines.table import EngineName

if TYPE_CHECKING:
    from c2t.runtime.bench.bundle_bench import BundleBenchOptions
    from c2t.runtime.bench.contest import TextPeer
    from c2t.runtime.bench.decoder_steps import DecoderPeer
    from c2t.runtime.bench.kernel_embedding import MakeEmbedder
    from c2t.runtime.bench.whole.runs import WholePeer
    from c2t.runtime.bundle.bundle import Bundle
    from c2t.runtime.describe.describer import DescribeOptions

KERNELS = "kernels"
FIGURES = "bench.json"
PEERS = ("torch", "optimum", "llama.cpp")


def bench(
    what: Annotated[
        str, typer.Argument(metavar="BUNDLE|kernels", help="A bundle's folder, or: kernels.")
    ],
    cells: Annotated[
        Path | None, typer.Option(help="Cells (.h5ad); the bundle's golden cells without it.")
    ] = None,
    against: Annotated[
        str, typer.Option(help=f"Others to compare with, with commas: {', '.join(PEERS)}.")
    ] = "",
    checkpoint: Annotated[
        Path | None, typer.Option(help="For others: the checkpoint folder of the bundle.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="For others: the preset that the bundle was made from.")
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Whole descriptions of any size, random weights too: texts and accepted drafts "
            "are a script's.",
        ),
    ] = False,
    acceptance: Annotated[
        str,
        typer.Option(
            help="Of --whole: how many drafted tokens are right, with commas: 0, all, or as in "
            "texts of the demo. A file is described with the last."
        ),
    ] = "0,all,demo",
    limit: Annotated[
        int, typer.Option(min=1, help="Cells described one by one; 8 times as many in batches.")
    ] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 3,
    num_beams: NumBeamsOption = None,
    max_new_tokens: MaxNewTokensOption = None,
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 8,
    prepack: Annotated[
        bool | None, typer.Option(help="Copy the weights at opening; else only small graphs'.")
    ] = None,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is random.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for bench.json, bench.txt and bench.svg."),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Measure a bundle, or the kernels, on this machine.

    Contestants take turns; ratios are medians. Figures are also given as shares of the memory
    bandwidth and of the product rate that are measured at the same time.
    """
    names = [name for name in against.split(",") if name]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        problem = f"no peer is called {', '.join(unknown)}"
        raise UsageError(problem, hint=f"there are {', '.join(PEERS)}")
    if output is not None:
        from c2t.runtime.system.files import check_folder_target

        check_folder_target(output, force=force, marker=FIGURES)
    if what == KERNELS:
        document, text, picture = _bench_kernels(cells, threads, seed)
    else:
        from c2t.runtime.bench.bundle_bench import BundleBenchOptions
        from c2t.runtime.describe.describer import DescribeOptions

        options = BundleBenchOptions(
            cells=cells,
            limit=limit,
            repeats=repeats,
            seed=seed,
            describing=DescribeOptions(
                num_beams=num_beams,
                max_new_tokens=max_new_tokens,
                threads=threads,
                batch_size=batch_size,
                prepack=prepack,
                engine=engine.value,
            ),
        )
        from c2t.runtime.bundle.bundle import open_bundle

        if trust is None:
            bundle = open_bundle(what, verify=False)
        else:
            # All of it now: it is opened by other processes, too, which hash nothing.
            bundle = open_checked(Path(what), trust)
        if whole:
            document, text, picture = _bench_whole(
                bundle, names, checkpoint, preset, options, acceptance.split(",")
            )
        else:
            document, text, picture = _bench_bundle(bundle, names, checkpoint, preset, options)
    figures = json_module.dumps(document, indent=1) + "\n"
    print(figures if json else text, end="", flush=True)
    if output is not None:
        _write(output, {FIGURES: figures, "bench.txt": text} | picture, force=force)


def _bench_bundle(
    bundle: Bundle,
    names: list[str],
    checkpoint: Path | None,
    preset: str | None,
    options: BundleBenchOptions,
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """The document, its page of text, and its picture by name."""
    from c2t.runtime.bench.bench_text import bench_text
    from c2t.runtime.bench.bundle_bench import bench_bundle, check_measured
    from c2t.runtime.bench.picture import bench_picture
    from c2t.runtime.cells.reader import open_cells
    from c2t.runtime.describe.describer import check_options

    check_measured(bundle)
    check_options(bundle, options.describing)
    if options.cells is not None:  # look at the file before peers load gigabytes
        with open_cells(options.cells, bundle):
            pass
    text_peers, decoder_peers = _peers(bundle, names, checkpoint, preset, options.describing)
    document = bench_bundle(
        bundle, options, text_peers=text_peers, decoder_peers=decoder_peers, report=say
    )
    return document, bench_text(document), {"bench.svg": bench_picture(document)}


def _bench_whole(
    bundle: Bundle,
    names: list[str],
    checkpoint: Path | None,
    preset: str | None,
    options: BundleBenchOptions,
    acceptances: list[str],
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """The document of `--whole`, its page of text, and its picture by name."""
    from c2t.runtime.bench.bundle_bench import check_measured
    from c2t.runtime.bench.whole.acceptance import load_acceptance
    from c2t.runtime.bench.whole.whole_bench import WholeOptions, bench_whole
    from c2t.runtime.bench.whole.whole_text import whole_picture, whole_text
    from c2t.runtime.cells.reader import open_cells
    from c2t.runtime.describe.describer import check_options

    check_measured(bundle)
    if options.cells is None:
        problem = "--whole describes a file of cells, and none is given"
        raise UsageError(problem, hint="name one with --cells")
    for name in acceptances:
        load_acceptance(name)
    check_options(bundle, options.describing)
    with open_cells(options.cells, bundle):  # before peers load gigabytes
        pass
    peers: list[WholePeer] = []
    if names:
        loaded = import_stage("c2t.export.checkpoint.open").load_bundle_source(checkpoint, preset)
        stage = import_stage("c2t.export.peers.whole")
        threads = options.describing.threads
        if "torch" in names:
            peers.append(stage.TorchWhole(loaded, bundle.manifest.generation, threads))
        if "llama.cpp" in names:
            quantised = bundle.manifest.precision != "fp32"
            llama = import_stage("c2t.export.peers.llama_cpp")
            decoder = llama.LlamaCppDecoder(loaded, threads, quantised=quantised)
            peers.append(stage.LlamaCppWhole(loaded, decoder))
    document = bench_whole(
        bundle,
        WholeOptions(
            cells=options.cells,
            limit=options.limit,
            repeats=options.repeats,
            acceptances=tuple(acceptances),
            describing=options.describing,
        ),
        peers=peers,
        report=say,
    )
    return document, whole_text(document), {"bench.svg": whole_picture(document)}


def _bench_kernels(
    cells: Path | None, threads: int | None, seed: int
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """The document and its page of text; there is no picture."""
    from c2t.runtime.bench.kernels import KernelBenchOptions, bench_kernels, kernels_text

    import_stage("scipy.sparse")  # the published algorithm is written with it
    options = KernelBenchOptions(cells=cells, threads=threads, seed=seed)
    document = bench_kernels(options, _kernel_peers())
    return document, kernels_text(document), {}


def _kernel_peers() -> dict[str, MakeEmbedder]:
    """PyTorch, if it is installed."""
    try:
        stage = importlib.import_module("c2t.export.peers.kernels")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "transformers"):
            raise
        return {}
    return {"torch": stage.torch_embedder}


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    """Write a folder of text files as a whole."""
    from c2t.runtime.system.files import atomic_folder

    with atomic_folder(folder, force=force, marker=FIGURES) as place:
        for name, text in files.items():
            (place / name).write_text(text, encoding="utf-8", newline="")
    say(f"wrote {folder}")


def _peers(
    bundle: Bundle,
    names: list[str],
    checkpoint: Path | None,
    preset: str | None,
    describing: DescribeOptions,
) -> tuple[list[TextPeer], list[DecoderPeer]]:
    """The peers of these names, opened."""
    from c2t.runtime.describe.describer import generation_settings

    text_peers: list[TextPeer] = []
    decoder_peers: list[DecoderPeer] = []
    if not names:
        return text_peers, decoder_peers
    loaded = import_stage("c2t.export.checkpoint.open").load_bundle_source(checkpoint, preset)
    if "torch" in names:
        stage = import_stage("c2t.export.peers.pytorch")
        generation = generation_settings(bundle.manifest.generation, describing)
        text_peers.append(stage.TorchTexts(loaded, generation, describing.threads))
        decoder_peers.append(stage.TorchDecoder(loaded, describing.threads))
    if "optimum" in names:
        stage = import_stage("c2t.export.peers.optimum")
        decoder_peers.append(stage.OptimumDecoder(loaded, describing.threads))
    if "llama.cpp" in names:
        stage = import_stage("c2t.export.peers.llama_cpp")
        decoder_peers.append(stage.LlamaCppDecoder(loaded, describing.threads))
    return text_peers, decoder_peers
