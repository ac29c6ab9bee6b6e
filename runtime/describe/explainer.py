"""Cells in, the genes that their texts rest on out, in the order of the cells.

One decision: a cell is explained by one thread from end to end, with engines of its own, where a
model is small enough for several. So what is found does not depend on the threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import EXPLAIN
from c2t.runtime.cells.encoded_cells import EncodedCells, GeneTokenArray
from c2t.runtime.describe.caption_names import CELL_TYPE, label_doubts
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.scored_words import named_words, written_words
from c2t.runtime.describe.worker import cache_capacity
from c2t.runtime.explain.evidence import (
    AGAINST,
    BEYOND,
    FOR,
    NONE,
    CellEvidence,
    GeneEvidence,
    probability_effect,
)
from c2t.runtime.explain.gene_names import GeneNames
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.explain.scorer import ScoredWords, WordScorer
from c2t.runtime.explain.search import Found, NotFiniteError, Search
from c2t.runtime.fields.reader import Field
from c2t.runtime.generation.candidate_names import candidate_names
from c2t.runtime.system.errors import C2TError

LEAST_GENES = 2
EXPLAIN_CHUNK = 32  # cells that are described before the first of them is explained


class Explainer:
    """Explains texts with a describer's engines.

    Args:
        bundle: The model.
        describer: Writes the texts; its engines score them.
        options: What to explain, and the budget.
        names: Of the genes; None: as the bundle has them.
        advance: Told of runs that are done, a batch at a time; threads call it. What it raises ends
            the work.

    Raises:
        TaskError: The bundle has no encoder, so that nothing can be left out of its input.
        C2TError: The bundle's texts have no such field.
    """

    def __init__(
        self,
        bundle: Bundle,
        describer: Describer,
        options: ExplainOptions | None = None,
        *,
        names: GeneNames | None = None,
        advance: Callable[[int], None] = lambda runs: None,
    ) -> None:
        bundle.manifest.need_task(EXPLAIN)
        self.options = options or ExplainOptions()
        self._bundle, self._describer = bundle, describer
        check_explaining(bundle, describer, self.options)
        self._names = names or GeneNames(bundle.genes)
        self._advance = advance
        self._lock = threading.Lock()
        self._idle: list[WordScorer] = []

    @cached_property
    def doubts(self) -> list[str]:
        """What the user should know about the label, a sentence each."""
        options = self.options
        if options.label is None or options.field != CELL_TYPE:
            return []
        return label_doubts(self._bundle, self._describer.fields.rules, options.label)

    def explain(self, chunks: Iterable[EncodedCells]) -> Iterator[CellEvidence]:
        """Explain the cells of chunks.

        Yields:
            One a cell, in their order. A cell without a text, or whose text does not say the
            field, has an `error` and does not stop the others.

        Raises:
            EngineError: The engine fails for the first few cells, or for all.
        """
        threads = self._describer.most_workers
        waiting: deque[Future[CellEvidence]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="c2t-explain")
        going_on = False
        try:
            for chunk in chunks:
                described = self._describer.describe([chunk], going_on=going_on)
                for description, tokens in zip(described, chunk.tokens, strict=True):
                    waiting.append(pool.submit(self._explain, description, tokens))
                    while len(waiting) > 2 * threads or (waiting and waiting[0].done()):
                        yield waiting.popleft().result()
                going_on = True
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _explain(self, description: Description, tokens: GeneTokenArray) -> CellEvidence:
        options = self.options
        said = description.fields.get(options.field)
        nothing = CellEvidence(
            cell=description.cell,
            text=description.text,
            field=options.field,
            written=said.words if said else None,
            genes_used=description.genes_used,
        )
        genes = self._genes(tokens)
        problem = description.error
        if problem is None and said is None:
            problem = f"no {options.field.replace('_', ' ')} can be read from the text"
        if problem is None and len(genes) < LEAST_GENES:
            problem = f"cell has {len(genes)} gene: there is nothing to leave out"
        if problem is not None or said is None:
            return replace(nothing, error=problem)
        try:
            words = self.words(description, said)
            found = self.search(tokens, words)
        except NotFiniteError:
            return replace(nothing, error="the engine's logits are not finite")
        except C2TError as error:
            return replace(nothing, error=error.problem)
        return self._evidence(nothing, words, found, tokens[genes])

    def words(self, description: Description, said: Field) -> ScoredWords:
        """What is scored for a cell.

        Args:
            description: Of the cell.
            said: What it says in the field.

        Raises:
            C2TError: The label cannot be written there.
        """
        label = self.options.label
        if label is None:
            return written_words(self._bundle, description, said)
        return named_words(self._bundle, description.text or "", said, label=label)

    def search(self, tokens: GeneTokenArray, words: ScoredWords) -> Found:
        """Look for the evidence of one cell.

        Args:
            tokens: Its gene tokens [S].
            words: What is scored.

        Raises:
            NotFiniteError: A score is not a number.
            EngineError: A run failed.
        """
        with self.scorer() as scorer:

            def score(inputs: GeneTokenArray) -> NDArray[np.float64]:
                return scorer.score(inputs, words, self._advance)

            return Search(
                tokens,
                self._genes(tokens),
                blank_token=self._bundle.manifest.gene_input.pad_token,
                options=self.options,
                score=score,
            ).run()

    def _genes(self, tokens: GeneTokenArray) -> NDArray[np.int64]:
        """Positions of a cell's tokens that are genes."""
        return np.flatnonzero([self._names.is_gene(token) for token in tokens.tolist()])

    def _evidence(
        self, nothing: CellEvidence, words: ScoredWords, found: Found, genes: GeneTokenArray
    ) -> CellEvidence:
        control, base = found.control, float(np.exp(found.base))
        evidence = found.evidence
        listed = []
        for index in np.argsort(-np.abs(evidence), kind="stable").tolist():
            place, effect, own = (
                int(found.places[index]),
                float(found.effects[index]),
                float(evidence[index]),
            )
            gene_id, symbol = self._names.name(int(genes[place]))
            direction = NONE
            if abs(own) > BEYOND * control.noise:
                direction = FOR if own > 0 else AGAINST
            listed.append(
                GeneEvidence(
                    gene_id=gene_id,
                    symbol=symbol,
                    rank=place + 1,
                    effect=effect,
                    probability_effect=probability_effect(found.base, effect),
                    shift=float(control.shift[place]),
                    evidence=own,
                    direction=direction,
                    control=bool(found.controls[index]),
                )
            )
        return replace(
            nothing,
            words=words.words,
            probability=base,
            noise=control.noise,
            genes=tuple(listed),
            complete=len(listed) == len(genes),
            together=found.together,
            runs=found.runs,
        )

    @contextmanager
    def scorer(self) -> Iterator[WordScorer]:
        """Borrow a scorer: one that is idle, else a new one over the same weights."""
        with self._lock:
            scorer = self._idle.pop() if self._idle else None
        scorer = scorer or self._new_scorer()
        try:
            yield scorer
        finally:
            with self._lock:
                self._idle.append(scorer)

    def _new_scorer(self) -> WordScorer:
        describer = self._describer
        engines = describer.engines
        with engines.exclusive():
            engines = engines.clone()
        capacity = None
        if engines.fixed_shape:
            capacity = cache_capacity(self._bundle.manifest, describer.generation)
        return WordScorer(
            self._bundle,
            engines,
            rows=describer.options.batch_size,
            capacity=capacity,
            clock=describer.clock,
        )


def check_explaining(bundle: Bundle, describer: Describer, options: ExplainOptions) -> None:
    """Refuse what cannot be explained, before any cell is described.

    Raises:
        C2TError: The bundle's texts have no such field, or the label cannot be written.
    """
    names = tuple(describer.fields.names)
    if options.field not in names:
        problem = f"the texts of this bundle have no field {options.field!r}"
        hint = f"give one of {', '.join(names)}" if names else "its rules read no fields"
        raise C2TError(problem, hint=hint)
    if options.label is not None:
        candidate_names(bundle, [options.label])
