"""c2t, llama.cpp and PyTorch, each in a process of its own: a prompt of text tokens, and an answer.

One decision: a contestant holds its model open, and is asked for one thing at a time. So programs
share neither memory nor threads, and the peak of each is its own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bench.record import peak_resident_bytes, status_bytes

OURS = "c2t INT8"
LLAMA_CPP, PYTORCH = PEERS = ("llama.cpp Q8_0", "PyTorch")
Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each contestant does.

    Args:
        prompt: Text tokens.
        tokens: Text tokens of the answer.
        threads: Threads of the contestant.
        vocabulary: Rows of the token table.
    """

    prompt: list[int]
    tokens: int
    threads: int
    vocabulary: int


class Contestant:
    """One program in a process of its own; it is asked for logits, texts and its memory.

    Args:
        name: For messages.
        serve: Answers what comes through a connection; see `answer`.
        path: Of its weights.
        work: What it is to do.
    """

    def __init__(self, name: str, serve: Callable[..., None], path: Path, work: Work) -> None:
        self._name = name
        context = multiprocessing.get_context("spawn")
        self._connection, self._other = context.Pipe()
        self._process = context.Process(
            target=serve, args=(self._other, path, work), daemon=True, name=name
        )

    def __enter__(self) -> Contestant:
        self._process.start()
        self._other.close()  # of this process: a contestant that ends is then seen to
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

    def memory(self) -> dict[str, int]:
        """Bytes so far: the largest resident size, and what is no mapped file."""
        memory: dict[str, int] = self._ask("memory")
        return memory

    def _ask(self, question: str) -> Any:
        try:
            self._connection.send(question)
            return self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            message = f"{self._name} ended with {self._process.exitcode}; see above"
            raise SystemExit(message) from error


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
                anonymous = status_bytes("RssAnon")
                connection.send({"peak": peak_resident_bytes(), "not_mapped": anonymous})


def serve_c2t(connection: Connection, path: Path, work: Work) -> None:
    """c2t: as `c2t describe` does it, from text tokens on."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.cells.encoded_cells import EncodedCells
    from c2t.runtime.describe.describer import DescribeOptions, Describer
    from c2t.runtime.generation.prompt import CellPrompt, PromptRunner

    settings = DescribeOptions(
        threads=work.threads,
        batch_size=1,
        max_new_tokens=work.tokens,
        engine="cpu",
    )
    describer = Describer(open_bundle(path, verify=False), settings)
    chunk = EncodedCells.of_tokens([work.prompt])

    def logits() -> Logits:
        decoder = describer.engines.decoder
        cache = decoder.new_cache(1, len(work.prompt))
        cell = CellPrompt(np.array(work.prompt, np.int32))
        return PromptRunner(decoder, ()).prefill(cache, 0, cell).copy()

    def write() -> None:
        (found,) = describer.describe([chunk])
        if found.error or len(found.tokens) < work.tokens:
            message = f"c2t wrote {len(found.tokens)} of {work.tokens} tokens: {found.error}"
            raise SystemExit(message)

    answer(connection, logits, write)


def serve_llama_cpp(connection: Connection, path: Path, work: Work) -> None:
    """llama.cpp Q8_0."""
    from c2t.export.peers.llama_cpp import LlamaCpp

    decoder = LlamaCpp(
        path,
        vocabulary=work.vocabulary,
        capacity=len(work.prompt) + work.tokens,
        threads=work.threads,
        quantised=True,
    )

    def write() -> None:
        logits = decoder.prefill_tokens(work.prompt)
        for _ in range(work.tokens - 1):
            logits = decoder.go_on(int(logits.argmax()))

    answer(connection, lambda: decoder.prefill_tokens(work.prompt), write)


def serve_pytorch(connection: Connection, path: Path, work: Work) -> None:
    """PyTorch with transformers' `generate`, in float32."""
    import torch

    from c2t.benchmarks.families.sentence_folders import load_decoder

    torch.set_num_threads(work.threads)
    decoder = load_decoder(path)
    ids = torch.tensor([work.prompt])

    @torch.inference_mode()
    def logits() -> Logits:
        found: Logits = decoder(input_ids=ids, logits_to_keep=1).logits[0, -1].numpy()
        return found

    @torch.inference_mode()
    def write() -> None:
        decoder.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=work.tokens,
            max_new_tokens=work.tokens,
            do_sample=False,
            pad_token_id=0,
        )

    answer(connection, logits, write)
