"""Cell2Sentence at real sizes: a long prompt and a short answer beside llama.cpp Q8_0 and PyTorch.

    python benchmarks/families/sentences_real_sizes.py REAL.h5ad pythia-410m gemma-2-2b \
        --work FOLDER -o benchmarks/results/sentences_real_sizes.json

Random weights: what is timed does not depend on their values. A folder as it is downloaded, its
bundle and its INT8 bundle are made once and kept in FOLDER (Pythia-410M takes 5 GB, Gemma-2-2B
27 GB). Real cells calibrate; only the words mean nothing, as the tokenizer has no merges.

Each contestant has a process of its own, and they take turns: c2t describes a cell of so many
text tokens, the others run the same tokens and as many greedy steps. llama.cpp is the package
`llama-cpp-python`, run as its users do: Q8_0 weights, its own cache. Before anything is timed, the
logits behind the prompt must be those of PyTorch. Opening and peak memory are of fresh processes
with the weights mapped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.interleave import interleave, median_ratio, spread
from c2t.runtime.bench.record import finish, peak_resident_bytes, record, target
from c2t.runtime.bundle.bundle import open_bundle

SEED = 0
PROMPT, ANSWER = 900, 8
GENES = 100  # of a sentence: letters are tokens here, so the prompts of real cells have 900 or so
ROUNDS, OPENINGS = 5, 3
CALIBRATION = ("--cells-count", "4", "--gate-cells", "2", "--least-agreement", "0")
# Random weights leave INT8, Q8_0 and float32 this alike at least; a wrong graph leaves nothing.
LEAST_COSINE = 0.9
LLAMA_CPP, PYTORCH = PEERS = ("llama.cpp Q8_0", "PyTorch")
# Times llama.cpp Q8_0, end to end; peak over the INT8 bundle; seconds to open it.
FASTER = {"pythia-410m": 2.5, "gemma-2-2b": 2.0}
MOST_MEMORY, MOST_SECONDS = 1.2, 2.0
Logits = NDArray[np.float32]


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
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("sentences_real_sizes", threads=options.threads, seed=SEED)
    document |= {"prompt_tokens": options.prompt, "answer_tokens": options.answer}
    document["models"] = models = {}
    for preset in options.presets:
        models[preset] = entry = make(preset, options)
        entry |= measure(preset, options)
        finish(document, list(targets(models)), options.output)


def targets(models: dict[str, Any]) -> Iterator[Any]:
    """What each preset is to reach."""
    for name, entry in models.items():
        faster, start = entry["times_faster"], entry["start"]
        what = f"{name}, a prompt and its answer, times {LLAMA_CPP}"
        if LLAMA_CPP in faster:
            yield target(what, faster[LLAMA_CPP], FASTER.get(name, 1.0))
        what = f"{name}, {MOST_MEMORY} x the INT8 bundle over the peak memory"
        yield target(what, MOST_MEMORY / start["peak_of_bundle"], 1.0)
        what = f"{name}, {MOST_SECONDS} s over opening it mapped"
        yield target(what, MOST_SECONDS / start["open_seconds"], 1.0)


def folders(preset: str, work: Path) -> tuple[Path, Path, Path, Path]:
    """The model, its bundle, its INT8 bundle, and llama.cpp's file."""
    place = work / preset
    return place / "model", place / "bundle", place / "int8", place / "model.gguf"


def make(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing, each in a process of its own; seconds of what was made."""
    model, bundle, int8, gguf = folders(preset, options.work)
    seconds = {}
    if not (model / "config.json").is_file():
        seconds["model"] = in_process(write_model, preset, model)
    if not gguf.is_file() and LLAMA_CPP not in options.without:
        seconds["gguf"] = in_process(write_peer_file, model, gguf)
    if not bundle.is_dir():
        seconds["export"] = c2t(
            *("export", "--family", "cell2sentence", "--model", str(model), "-o", str(bundle)),
            *("--cells", str(options.cells), "--top-genes", str(GENES)),
            *("--max-new-tokens", str(options.answer)),
        )
    if not int8.is_dir():
        seconds["calibrate"] = c2t(
            *("calibrate", str(bundle), str(options.cells), "-o", str(int8), *CALIBRATION)
        )
    return {"made_in_seconds": seconds}


def in_process(work: Callable[..., None], *arguments: Any) -> float:
    """Run a function in a new process, which takes its memory with it; seconds."""
    since = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        message = f"{work.__name__} failed"
        raise SystemExit(message)
    return time.perf_counter() - since


def c2t(*arguments: str) -> float:
    """Run a command of c2t; seconds."""
    since = time.perf_counter()
    program = [sys.executable, "-P", "-c", "from c2t.cli import main; main()"]
    subprocess.run([*program, *arguments], check=True, stdout=sys.stderr)
    return time.perf_counter() - since


def write_model(preset: str, folder: Path) -> None:
    """A model with random weights as a folder that could have been downloaded."""
    import torch

    from c2t.export.checkpoint.preset import random_part, synthetic_tokenizer
    from c2t.export.decoders.families import PRESETS, decoder_family

    config = PRESETS[preset]()
    tokenizer = synthetic_tokenizer(config.vocab_size)
    tokenizer.chat_template = None
    block = torch.randn((1 << 22) + 1, generator=torch.Generator().manual_seed(SEED)) * 0.02
    model = random_part(decoder_family(config.model_type), config, block)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def write_peer_file(model: Path, path: Path) -> None:
    """llama.cpp's file of the same weights in Q8_0."""
    from c2t.export.peers.gguf_file import write_gguf

    write_gguf(load_decoder(model), path, quantised=True)


def load_decoder(model: Path) -> Any:
    """The PyTorch model, its weights mapped."""
    from c2t.export.cell2sentence.outline import outline_sentences
    from c2t.export.checkpoint.options import CheckpointOptions

    options = CheckpointOptions(family="cell2sentence", model=model, top_genes=GENES)
    return outline_sentences(options).load().model.decoder


class Contestant:
    """One program in a process of its own; it is asked for logits, texts and its memory."""

    def __init__(self, serve: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, *arguments), daemon=True)

    def __enter__(self) -> Contestant:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def logits(self) -> Logits:
        """Behind the prompt, [V]."""
        logits: Logits = self._ask("logits")
        return logits

    def write(self) -> None:
        """Read the prompt, write the answer."""
        self._ask("write")

    def peak(self) -> int:
        """Largest resident size so far, in bytes."""
        return int(self._ask("peak"))

    def _ask(self, question: str) -> Any:
        self._connection.send(question)
        return self._connection.recv()


def answer(connection: Connection, logits: Callable[[], Logits], write: Callable[[], Any]) -> None:
    """Answer what a `Contestant` asks, until the process is ended."""
    with contextlib.suppress(EOFError):
        while True:
            question = connection.recv()
            if question == "logits":
                connection.send(logits())
            elif question == "write":
                write()
                connection.send(None)
            else:
                connection.send(peak_resident_bytes())


def serve_c2t(connection: Connection, path: Path, prompt: list[int], threads: int) -> None:
    """c2t: as `c2t describe` does it, from text tokens on."""
    from c2t.runtime.cells.encoded_cells import EncodedCells
    from c2t.runtime.describe.describer import DescribeOptions, Describer
    from c2t.runtime.engine_protocol import EngineOptions
    from c2t.runtime.engines.cpu.open import open_engines
    from c2t.runtime.generation.prompt import CellPrompt, PromptRunner

    bundle = open_bundle(path, verify=False)
    settings = DescribeOptions(threads=threads, batch_size=1, prepack=False, engine="cpu")
    describer = Describer(bundle, settings)
    chunk = EncodedCells.of_tokens([prompt])

    def logits() -> Logits:
        decoder = open_engines(bundle, EngineOptions(threads=threads, prepack=False)).decoder
        cache = decoder.new_cache(1, len(prompt))
        cell = CellPrompt(np.array(prompt, np.int32))
        return PromptRunner(decoder, ()).prefill(cache, 0, cell).copy()

    def write() -> None:
        (found,) = describer.describe([chunk])
        if found.error or len(found.tokens) < bundle.manifest.generation.max_new_tokens:
            message = f"c2t wrote {len(found.tokens)} tokens: {found.error}"
            raise SystemExit(message)

    answer(connection, logits, write)


def serve_llama_cpp(
    connection: Connection,
    path: Path,
    prompt: list[int],
    tokens: int,
    vocabulary: int,
    threads: int,
) -> None:
    """llama.cpp Q8_0."""
    from c2t.export.peers.llama_cpp import LlamaCpp

    decoder = LlamaCpp(
        path,
        vocabulary=vocabulary,
        capacity=len(prompt) + tokens,
        threads=threads,
        quantised=True,
    )

    def write() -> None:
        logits = decoder.prefill_tokens(prompt)
        for _ in range(tokens - 1):
            logits = decoder.go_on(int(logits.argmax()))

    answer(connection, lambda: decoder.prefill_tokens(prompt), write)


def serve_pytorch(
    connection: Connection, model: Path, prompt: list[int], tokens: int, threads: int
) -> None:
    """PyTorch with transformers' `generate`, in float32."""
    import torch

    torch.set_num_threads(threads)
    decoder = load_decoder(model)
    ids = torch.tensor([prompt])

    @torch.inference_mode()
    def logits() -> Logits:
        found: Logits = decoder(input_ids=ids, logits_to_keep=1).logits[0, -1].numpy()
        return found

    @torch.inference_mode()
    def write() -> None:
        decoder.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )

    answer(connection, logits, write)


def measure(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Check all contestants, then time them in turns; then start c2t afresh some times."""
    model, _, int8, gguf = folders(preset, options.work)
    bundle = open_bundle(int8, verify=False)
    vocabulary = bundle.manifest.decoder.vocabulary_size
    # Of a real cell, as long as asked: tokens that calibration never saw would be clipped.
    golden = list(bundle.golden.cells[0].gene_tokens)
    prompt = (golden * (1 + options.prompt // len(golden)))[: options.prompt]
    limits = (options.answer, vocabulary, options.threads)
    contestants = {
        "c2t INT8": Contestant(serve_c2t, int8, prompt, options.threads),
        LLAMA_CPP: Contestant(serve_llama_cpp, gguf, prompt, *limits),
        PYTORCH: Contestant(serve_pytorch, model, prompt, options.answer, options.threads),
    }
    contestants = {name: made for name, made in contestants.items() if name not in options.without}
    with contextlib.ExitStack() as stack:
        for contestant in contestants.values():
            stack.enter_context(contestant)
        logits = {name: contestant.logits() for name, contestant in contestants.items()}
        alike = check(logits)
        runs = {name: contestant.write for name, contestant in contestants.items()}
        times = interleave(runs, options.rounds)
        peaks = {name: contestant.peak() for name, contestant in contestants.items()}
    ours = times["c2t INT8"]
    starts = [
        measure_fresh(int8, prompt, threads=options.threads, prepack=False, engine="cpu")
        for _ in range(OPENINGS)
    ]
    return {
        "bytes": {"int8": bundle.bytes, "gguf": gguf.stat().st_size if gguf.is_file() else None},
        "cosine_to_c2t": alike,
        "seconds": {name: asdict(spread(runs)) for name, runs in times.items()},
        "times_faster": {
            name: median_ratio(times[name], ours) for name in times if name != "c2t INT8"
        },
        "peak_resident_bytes": peaks,
        "start": {key: float(np.median([start[key] for start in starts])) for key in starts[0]},
    }


def check(logits: dict[str, Logits]) -> dict[str, float]:
    """Times of something else mean nothing."""
    ours = logits["c2t INT8"]
    alike = {
        name: float(ours @ other / (np.linalg.norm(ours) * np.linalg.norm(other)))
        for name, other in logits.items()
        if name != "c2t INT8"
    }
    if not all(cosine >= LEAST_COSINE for cosine in alike.values()):
        message = f"the logits are not those of the others: {json.dumps(alike)}"
        raise SystemExit(message)
    return alike


if __name__ == "__main__":
    main()
