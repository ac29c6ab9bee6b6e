"""Texts against reference captions: BLEU-1..4, ROUGE-1, -2, -L and BERTScore.

Sources: BLEU (Papineni et al. 2002) by sacrebleu, cumulative up to n, over the corpus; ROUGE (Lin
2004) by rouge-score, F measure with stemming, mean over cells; BERTScore (Zhang et al. 2020) by
bert-score with a model from a local folder, F1, mean over cells, no baseline rescaling. All between
0 and 1. The libraries come with the extra `evaluate`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from c2t.calibration.metrics.bootstrap import Bootstrap, Interval
from c2t.runtime.system.errors import EvaluationError
from c2t.runtime.system.progress import progress_bar

# Cells that BERTScore takes together; enough for its own batches of 64.
BERT_CELLS = 256
BLEU_ORDERS = (1, 2, 3, 4)
ROUGES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


class _ReferenceLine(msgspec.Struct):
    cell: str
    text: str | None = None


def read_references(path: Path) -> dict[str, str]:
    """Reference captions by cell id, from a file as `c2t describe` writes it (.jsonl or .csv).

    Raises:
        EvaluationError: The file is missing, lacks "cell" or "text", or has no caption.
    """
    hint = 'give .jsonl with {"cell": ..., "text": ...} a line, or .csv with columns cell and text'
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                lines = [_ReferenceLine(row["cell"], row["text"]) for row in csv.DictReader(stream)]
        else:
            lines = msgspec.json.Decoder(_ReferenceLine).decode_lines(path.read_bytes())
    except (OSError, KeyError, csv.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = f"{path} holds no reference captions: {type(error).__name__}: {error}"
        raise EvaluationError(problem, hint=hint) from error
    captions = {line.cell: line.text for line in lines if line.text}
    if not captions:
        problem = f"{path} holds no reference captions"
        raise EvaluationError(problem, hint=hint)
    return captions


def check_bert_model(path: Path | None) -> None:
    """Refuse a model for BERTScore that is not a folder here: nothing is ever downloaded.

    Raises:
        EvaluationError: No such folder, or bert-score is not installed.
    """
    if path is None:
        return
    if not (path / "config.json").is_file():
        problem = f"{path} is no folder of a model: it has no config.json"
        hint = "fetch a model such as BioBERT or RoBERTa yourself, and give its folder"
        raise EvaluationError(problem, hint=hint)
    try:
        import bert_score  # noqa: F401 - only whether it is there
    except ModuleNotFoundError as error:
        problem = f"BERTScore needs {error.name}, which is not installed"
        raise EvaluationError(problem, hint="run `pip install bert-score`") from error


def check_text_metrics() -> None:
    """Refuse to score texts where the libraries for it are missing.

    Raises:
        EvaluationError: The extra `evaluate` is not installed.
    """
    try:
        import rouge_score  # noqa: F401 - only whether it is there
        import sacrebleu  # noqa: F401
    except ModuleNotFoundError as error:
        problem = f"scoring texts needs {error.name}, which is not installed"
        raise EvaluationError(problem, hint='run `pip install "c2t[evaluate]"`') from error


def score_texts(
    texts: Sequence[str | None],
    references: Sequence[str | None],
    bootstrap: Bootstrap,
    *,
    bert_model: Path | None = None,
) -> dict[str, Interval]:
    """Scores over the cells that have a reference; a missing text counts as an empty one.

    Args:
        texts: [B]; None where a cell could not be described.
        references: [B]; None leaves a cell out.
        bootstrap: Resamples of the B cells.
        bert_model: Folder of a model for BERTScore.

    Raises:
        EvaluationError: The extra `evaluate` is not installed.
    """
    cells = [cell for cell, reference in enumerate(references) if reference is not None]
    said = [texts[cell] or "" for cell in cells]
    wanted = [str(references[cell]) for cell in cells]
    check_text_metrics()
    scores = _bleu(said, wanted, bootstrap.weights[:, cells], bootstrap)
    means = _rouge(said, wanted)
    if bert_model is not None:
        means["BERTScore"] = _bert(said, wanted, bert_model)
    for name, values in means.items():
        every = np.full(len(texts), np.nan)
        every[cells] = values
        scores[name] = bootstrap.mean(every)
    return scores


def _bleu(
    said: Sequence[str], wanted: Sequence[str], weights: NDArray[np.float32], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """BLEU of the corpus and of its resamples, from the n-gram counts of each text."""
    from sacrebleu.metrics.bleu import BLEU

    most = max(BLEU_ORDERS)
    # The effective order changes only a single text's score, which is not used.
    metric = BLEU(max_ngram_order=most, effective_order=True)
    rows = []
    with progress_bar("BLEU", len(said), unit="cells") as advance:
        for text, target in zip(said, wanted, strict=True):
            score = metric.sentence_score(text, [target])
            rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
            advance(1)
    counts = np.asarray(rows, dtype=np.float64)

    def bleu(sums: NDArray[np.float64], order: int) -> float:
        values = np.rint(sums).astype(int).tolist()
        if not values[-1]:
            return np.nan  # no cell with a reference was drawn
        share = 0.01 * float(
            BLEU.compute_bleu(
                values[:order],
                values[most : most + order],
                values[-2],
                values[-1],
                max_ngram_order=order,
            ).score
        )
        return min(share, 1.0)  # rounding

    resampled = weights.astype(np.float64) @ counts
    return {
        f"BLEU-{order}": bootstrap.interval(
            bleu(counts.sum(axis=0), order), np.array([bleu(sums, order) for sums in resampled])
        )
        for order in BLEU_ORDERS
    }


def _rouge(said: Sequence[str], wanted: Sequence[str]) -> dict[str, list[float]]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES), use_stemmer=True)
    scores = []
    with progress_bar("ROUGE", len(said), unit="cells") as advance:
        for text, target in zip(said, wanted, strict=True):
            scores.append(scorer.score(target, text))
            advance(1)
    return {name: [float(score[key].fmeasure) for score in scores] for key, name in ROUGES.items()}


def _bert(said: Sequence[str], wanted: Sequence[str], model: Path) -> list[float]:
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is ever fetched
    from bert_score import BERTScorer

    layers = msgspec.json.decode((model / "config.json").read_bytes())["num_hidden_layers"]
    scorer = BERTScorer(model_type=str(model), num_layers=int(layers), device="cpu")
    values: list[float] = []
    with progress_bar("BERTScore", len(said), unit="cells") as advance:
        for first in range(0, len(said), BERT_CELLS):
            span = slice(first, first + BERT_CELLS)
            _, _, f1 = scorer.score(list(said[span]), list(wanted[span]))
            values += [float(value) for value in f1]
            advance(len(f1))
    return values
