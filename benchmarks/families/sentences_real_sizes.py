"""Cell2Sentence at real sizes: a long prompt and a short answer beside llama.cpp Q8_0 and PyTorch.

    python benchmarks/families/sentences_real_sizes.py REAL.h5ad pythia-410m gemma-2-2b \
        --work FOLDER -o benchmarks/results/sentences_real_sizes.json

Random weights: what is timed does not depend on their values. A folder as it is downloaded, its
bundle, its INT8 bundle and llama.cpp's file are made once and kept in FOLDER (Pythia-410M takes
5 GB, Gemma-2-2B 27 GB). Real cells calibrate; only the answers mean nothing.

Whatever is found is kept in FOLDER at once: a run that was ended goes on where it was, with the
same command. `--make` makes the files and times nothing; `--fresh` times again.

Each contestant has a process of its own, and they take turns: c2t describes a cell of so many
text tokens, the others run the same tokens and as many greedy steps. The prompt leaves out what
all prompts begin with, which c2t runs once and not for each cell. All are run as their users run
them; llama.cpp is the package `llama-cpp-python` with Q8_0 weights and its own cache. Before
anything is timed, the logits behind the prompt must be those of the others. Opening and peak memory
are of fresh processes, which open the bundle as c2t does by default: on the kernel of all steps,
which holds the weights once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import c2t
from c2t.benchmarks.families.sentence_contestants import (
    LLAMA_CPP,
    OURS,
    PEERS,
    PYTORCH,
    Contestant,
    Logits,
    Work,
    serve_c2t,
    serve_llama_cpp,
    serve_pytorch,
)
from c2t.benchmarks.families.sentence_folders import SEED, Folders, make
from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.interleave import median_ratio, seconds_of, spread
from c2t.runtime.bench.record import finish, load, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.engines.built.folder import CACHE_VARIABLE
from c2t.runtime.generation.bundle_prompts import bundle_prompts

PROMPT, ANSWER = 900, 8
ROUNDS, OPENINGS = 5, 3
# Random weights leave INT8, Q8_0 and float32 this alike at least; a wrong graph leaves nothing.
LEAST_COSINE = 0.9
# Times llama.cpp Q8_0, end to end; peak over the INT8 bundle; seconds to open it.
FASTER = {"pythia-410m": 2.5, "gemma-2-2b": 2.0}
MOST_MEMORY, MOST_SECONDS = {"gemma-2-2b": 1.2}, 2.0


class Kept:
    """Figures of a preset in a file, which is written whenever one is added.

    Args:
        path: The file; figures of another command's settings in it are dropped.
        settings: What the figures depend on.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, fresh: bool) -> None:
        self._path = path
        # What was made is kept, and how long it took, whatever is timed.
        self.figures: dict[str, Any] = {"made": {}}
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            self.figures["made"] = stored["figures"]["made"]
            if stored["settings"] == settings and not fresh:
                self.figures = stored["figures"]
        self._settings = settings

    def write(self) -> None:
        """Write all figures to the file."""
        text = json.dumps({"settings": self._settings, "figures": self.figures}, indent=1)
        partly = self._path.with_suffix(".part")
        partly.write_text(text + "\n", encoding="utf-8")
        partly.replace(self._path)


def main() -> None:
    """Make what is missing, check, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path, help="real cells, to calibrate with")
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=PROMPT)
    parser.add_argument("--answer", type=int, default=ANSWER)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--without", nargs="+", default=[], choices=PEERS, help="peers left out")
    parser.add_argument("--make", action="store_true", help="make the files, time nothing")
    parser.add_argument("--fresh", action="store_true", help="drop times of earlier runs")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    check(options)
    document = record("sentences_real_sizes", threads=options.threads, seed=SEED)
    document["llama_cpp_plain"] = bool(os.environ.get("C2T_LLAMA_CPP_PLAIN"))  # see its peer
    document |= {"prompt_tokens": options.prompt, "answer_tokens": options.answer}
    document["models"] = models = {}
    for preset in options.presets:
        folders = Folders(options.work / preset)
        folders.place.mkdir(parents=True, exist_ok=True)
        kept = Kept(folders.place / "figures.json", settings(options), fresh=options.fresh)
        for stage, took in make(
            preset,
            folders,
            options.cells,
            answer=options.answer,
            threads=options.threads,
            gguf=LLAMA_CPP not in options.without,
        ):
            kept.figures["made"][stage] = took
            kept.write()
            say(f"{preset}: {stage}: {json.dumps(took)}")
        if not options.make:
            models[preset] = measure(preset, folders, options, kept)
            finish(document, list(targets(models)), options.output)


def check(options: argparse.Namespace) -> None:
    """Fail now, not after hours."""
    from c2t.export.decoders.families import PRESETS

    if unknown := set(options.presets) - PRESETS.keys():
        message = f"no preset {', '.join(unknown)}: there are {', '.join(PRESETS)}"
        raise SystemExit(message)
    if not options.cells.is_file():
        message = f"no such file: {options.cells}"
        raise SystemExit(message)
    if options.output is not None and not options.output.parent.is_dir():
        message = f"no such folder: {options.output.parent}"
        raise SystemExit(message)
    if LLAMA_CPP not in options.without:
        import gguf  # noqa: F401
        import llama_cpp  # noqa: F401


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures of a run depend on."""
    return {
        **{name: getattr(options, name) for name in ("prompt", "answer", "threads", "without")},
        "c2t": c2t.__version__,
        "weights": "copied or mapped by default",
    }


def say(sentence: str) -> None:
    """Tell who waits."""
    print(sentence, file=sys.stderr, flush=True)


def targets(models: dict[str, Any]) -> Iterator[Any]:
    """What each preset is to reach."""
    for name, entry in models.items():
        faster, start = entry["times_faster"], entry["start"]
        what = f"{name}, a prompt and its answer, times {LLAMA_CPP}"
        if LLAMA_CPP in faster:
            yield target(what, faster[LLAMA_CPP], FASTER.get(name, 1.0))
        if name in MOST_MEMORY:
            most = MOST_MEMORY[name]
            what = f"{name}, {most} x the INT8 bundle over the peak memory"
            yield target(what, most / start["peak_of_bundle"], 1.0)
        what = f"{name}, {MOST_SECONDS} s over opening it"
        yield target(what, MOST_SECONDS / start["open_seconds"], 1.0)


def measure(
    preset: str, folders: Folders, options: argparse.Namespace, kept: Kept
) -> dict[str, Any]:
    """Check all contestants, then time them in turns; then start c2t afresh some times."""
    bundle, found = open_bundle(folders.int8, verify=False), kept.figures
    work = Work(
        prompt=prompt_of(bundle, options.prompt),
        tokens=options.answer,
        threads=options.threads,
        vocabulary=bundle.manifest.decoder.vocabulary_size,
    )
    found["bytes"] = {"int8": bundle.bytes}
    if folders.gguf.is_file():
        found["bytes"]["gguf"] = folders.gguf.stat().st_size
    found.setdefault("rounds", [])
    found.setdefault("starts", [])
    if len(found["rounds"]) < options.rounds:
        take_turns(preset, folders, options, kept, work)
    for number in range(len(found["starts"]), OPENINGS):
        for name, cache in (("starts", None), ("starts_without_packed", "nothing")):
            with engines_of(cache and folders.place / cache):
                figures = measure_fresh(
                    folders.int8,
                    work.prompt,
                    threads=options.threads,
                    max_new_tokens=options.answer,
                    engine="cpu",
                )
            found.setdefault(name, []).append(figures)
            kept.write()
            seconds = figures["open_seconds"]
            say(f"{preset}: {name}, {number + 1} of {OPENINGS}: open in {seconds:.2f} s")
    return summary(found)


@contextlib.contextmanager
def engines_of(folder: Path | None) -> Iterator[None]:
    """Engines that start meanwhile look there for what was built; None: beside the bundle."""
    if folder is not None:
        os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(CACHE_VARIABLE, None)


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The figures of a preset, with their medians."""
    times = {name: [one[name] for one in found["rounds"]] for name in found["rounds"][0]}
    listed = ("rounds", "starts", "starts_without_packed")
    return {
        **{key: value for key, value in found.items() if key not in listed},
        "rounds": found["rounds"],
        "seconds": {name: asdict(spread(runs)) for name, runs in times.items()},
        "times_faster": {
            name: median_ratio(runs, times[OURS]) for name, runs in times.items() if name != OURS
        },
        "start": medians(found["starts"]),
        "start_without_packed": medians(found["starts_without_packed"]),
    }


def medians(starts: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {key: float(np.median([start[key] for start in starts])) for key in starts[0]}


def prompt_of(bundle: Bundle, length: int) -> list[int]:
    """Text tokens of real cells, without what all prompts begin with.

    Of real cells, because tokens that calibration never saw would be clipped.
    """
    beginning = bundle_prompts(bundle).beginning
    tokens: list[int] = []
    while len(tokens) < length:
        for cell in bundle.golden.cells:
            same = len(beginning) if tuple(cell.gene_tokens[: len(beginning)]) == beginning else 0
            tokens += cell.gene_tokens[same:]
    if length > bundle.manifest.prompt_length:
        message = f"the bundle takes prompts of {bundle.manifest.prompt_length} tokens"
        raise SystemExit(message)
    return tokens[:length]


def take_turns(
    preset: str, folders: Folders, options: argparse.Namespace, kept: Kept, work: Work
) -> None:
    """Compare the contestants' logits, then time the rounds that are missing."""
    serving = {
        OURS: (serve_c2t, folders.int8),
        LLAMA_CPP: (serve_llama_cpp, folders.gguf),
        PYTORCH: (serve_pytorch, folders.model),
    }
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Contestant] = {}
        for name, (serve, path) in serving.items():
            if name not in options.without:
                contestant = Contestant(name, serve, path, work)
                contestants[name] = stack.enter_context(contestant)
        logits: dict[str, Logits] = {}
        for name, contestant in contestants.items():
            logits[name] = contestant.logits()
            seconds = seconds_of(contestant.write)  # the warm-up
            say(f"{preset}: {name} read and wrote in {seconds:.2f} s")
        kept.figures["cosine_to_c2t"] = alike(logits)
        kept.write()
        rounds = kept.figures["rounds"]
        while len(rounds) < options.rounds:
            # Every other round in the reverse order, as `interleave` does it.
            names = list(contestants)[:: 1 if len(rounds) % 2 == 0 else -1]
            done = {name: seconds_of(contestants[name].write) for name in names}
            rounds.append({name: done[name] for name in contestants})
            kept.figures["memory_bytes"] = {
                name: contestant.memory() for name, contestant in contestants.items()
            }
            kept.figures["load"] = load()
            kept.write()
            say(f"{preset}: round {len(rounds)} of {options.rounds}: {json.dumps(rounds[-1])}")


def alike(logits: dict[str, Logits]) -> dict[str, float]:
    """Cosines of the others' logits to ours: times of something else mean nothing."""
    ours = logits[OURS]
    cosines = {
        name: float(ours @ other / (np.linalg.norm(ours) * np.linalg.norm(other)))
        for name, other in logits.items()
        if name != OURS
    }
    say(f"cosines to the logits of {OURS}: {json.dumps(cosines)}")
    if not all(cosine >= LEAST_COSINE for cosine in cosines.values()):
        message = f"the logits are not those of the others: {json.dumps(cosines)}"
        raise SystemExit(message)
    return cosines


if __name__ == "__main__":
    main()
