"""The command `c2t bench`: its options, and nothing that takes long to load."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from c2t.runtime.command_line.options import EngineName, EngineOption
from c2t.runtime.command_line.run import UsageError, import_stage, say

if TYPE_CHECKING:
    from c2t.runtime.bench.peer import DecoderPeer, TextPeer
    from c2t.runtime.bundle.bundle import Bundle

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
    limit: Annotated[
        int, typer.Option(min=1, help="Cells described one by one; 8 times as many in batches.")
    ] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 3,
    num_beams: Annotated[int | None, typer.Option(min=1, help="1 is greedy search.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest text, in tokens.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; all cores if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells written at the same time.")] = 8,
    prepack: Annotated[
        bool | None, typer.Option(help="Copy the weights at opening; else only small graphs'.")
    ] = None,
    engine: EngineOption = EngineName.auto,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is random.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures there, as JSON.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for bench.json, bench.txt and bench.svg."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
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
    files = _Files(json, output, force)
    if what == KERNELS:
        _bench_kernels(cells, threads, seed, files)
        return
    from c2t.runtime.bench.bench_text import bench_text
    from c2t.runtime.bench.bundle_bench import BundleBenchOptions, bench_bundle
    from c2t.runtime.bench.picture import bench_picture
    from c2t.runtime.bundle.bundle import open_bundle
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
    bundle = open_bundle(Path(what), verify=False)
    text_peers, decoder_peers = _peers(bundle, names, checkpoint, preset, options.describing)
    document = bench_bundle(
        bundle, options, text_peers=text_peers, decoder_peers=decoder_peers, report=say
    )
    text = bench_text(document)
    print(text, end="")
    files.write(document, text, bench_picture(document))


class _Files:
    """Where figures are written; refuses before anything is measured."""

    def __init__(self, json: Path | None, folder: Path | None, force: bool) -> None:
        from c2t.runtime.system.files import check_folder_target, check_target

        self._json, self._folder, self._force = json, folder, force
        if json is not None:
            check_target(json, force=force)
        if folder is not None:
            check_folder_target(folder, force=force, marker=FIGURES)

    def write(self, document: dict[str, Any], text: str, picture: str | None = None) -> None:
        """Write what was asked for."""
        from c2t.runtime.system.files import atomic_folder, write_text

        figures = json_module.dumps(document, indent=1) + "\n"
        if self._json is not None:
            write_text(self._json, figures, force=self._force)
        if self._folder is not None:
            with atomic_folder(self._folder, force=self._force, marker=FIGURES) as folder:
                (folder / FIGURES).write_text(figures, encoding="utf-8")
                (folder / "bench.txt").write_text(text, encoding="utf-8")
                if picture is not None:
                    (folder / "bench.svg").write_text(picture, encoding="utf-8")
            say(f"wrote {self._folder}")


def _bench_kernels(cells: Path | None, threads: int | None, seed: int, files: _Files) -> None:
    from c2t.runtime.bench import kernels as kernels

    options = kernels.KernelBenchOptions(cells=cells, threads=threads, seed=seed)
    document = kernels.run_kernel_benchmark(options)
    text = kernels.format_kernel_benchmark(document) + "\n"
    print(text, end="")
    files.write(document, text)


def _peers(
    bundle: Bundle,
    names: list[str],
    checkpoint: Path | None,
    preset: str | None,
    describing: Any,
) -> tuple[list[TextPeer], list[DecoderPeer]]:
    """The peers, opened."""
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
