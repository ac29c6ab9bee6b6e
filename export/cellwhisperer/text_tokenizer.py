"""The tokenizer of a text tower: from its folder to the `text_tokenizer.json` of a bundle.

One decision: what the runtime reads is compared with the library here, on texts of the field; a
tokenizer that is no WordPiece of BERT's is refused before weights are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from c2t.export.checkpoint.configs import read_json
from c2t.runtime.joint.word_pieces import (
    TOKENIZER_BYTES_MAX,
    WordPieces,
    read_word_pieces,
)
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.rust_panics import rust_panics

TOKENIZER, VOCABULARY, TOKENIZER_CONFIG = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
CLS, SEP, UNKNOWN, PREFIX = "[CLS]", "[SEP]", "[UNK]", "##"
# What the runtime must cut as the library does.
TEXTS = (
    "activated T cells from a tumour",
    "CD8+ effector-memory T cells, IFN-\u03b3 high (GZMB, PRF1, NKG7)",
    "Na\u00efve B cells; Crohn's disease / ulcerative colitis: 5\u201310% of all cells",
    "  hematopoietic\tstem cell\nof the bone marrow  ",
    "\u5de8\u566c\u7d30\u80de alveolar macrophages in COVID\u201119",
    "pancreatic \u03b2-cells \u00d7 2, HLA-DRA\u1d34\u2071",
    "x" * 250,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class TowerTokenizer:
    """The tokenizer of a text tower.

    Attributes:
        json: Content of the bundle's `text_tokenizer.json`.
        pieces: The same, opened as the runtime does.
        cls_token: Token of "[CLS]".
        sep_token: Token of "[SEP]".
        file: What was read.
    """

    json: str
    pieces: WordPieces
    cls_token: int
    sep_token: int
    file: Path


def load_tower_tokenizer(folder: Path, *, lower_case: bool | None = None) -> TowerTokenizer:
    """Load a WordPiece tokenizer.

    Args:
        folder: The text tower's: `tokenizer.json`, or `vocab.txt` with `tokenizer_config.json`.
        lower_case: Whether letters are lower-cased, where the folder does not say so.

    Raises:
        CheckpointError: There is none, it is of another kind, the folder does not say whether it
            lower-cases, or says otherwise.
    """
    path = folder / TOKENIZER
    if path.is_file():
        stored = _plain(read_json(path))
    else:
        path = folder / VOCABULARY
        stored = _of_vocabulary(path, _lower_cases(folder, lower_case))
    hint = "c2t reads texts with BERT's WordPiece tokenizer only"
    pieces = read_word_pieces(stored.encode(), path.name, error=CheckpointError, hint=hint)
    lower = json.loads(stored)["normalizer"].get("lowercase", True)
    if lower_case is not None and lower != lower_case:
        problem = f"{path} {'lower-cases' if lower else 'keeps the case of'} letters"
        raise CheckpointError(problem, hint="leave --text-lower-case and its opposite out")
    lacking = [word for word in (CLS, SEP) if word not in pieces.vocabulary]
    if lacking:
        problem = f"{path} has no token {' and no '.join(lacking)}"
        raise CheckpointError(problem, hint="pass the folder of the text tower: --text-model")
    _compare(stored, pieces, path)
    return TowerTokenizer(
        json=stored,
        pieces=pieces,
        cls_token=pieces.vocabulary[CLS],
        sep_token=pieces.vocabulary[SEP],
        file=path,
    )


def _plain(fields: dict[str, object]) -> str:
    """A `tokenizer.json` without what the runtime does itself: special tokens, cut and padding."""
    kept = {name: fields.get(name) for name in ("version", "normalizer", "pre_tokenizer", "model")}
    return json.dumps(kept | {"added_tokens": []}, ensure_ascii=False, separators=(",", ":"))


def _lower_cases(folder: Path, asked: bool | None) -> bool:
    """Whether letters are lower-cased.

    Raises:
        CheckpointError: Nobody says so.
    """
    config = folder / TOKENIZER_CONFIG
    stated = read_json(config).get("do_lower_case") if config.is_file() else None
    if isinstance(stated, bool):
        if asked is not None and asked != stated:
            problem = f"{config}: do_lower_case is {str(stated).lower()}"
            raise CheckpointError(problem, hint="leave --text-lower-case and its opposite out")
        return stated
    if asked is None:
        problem = f"{folder} does not say whether its tokenizer lower-cases letters"
        hint = (
            "pass --no-text-lower-case for a cased vocabulary such as BioBERT's; transformers "
            "lower-cases where nothing is said, so pass --text-lower-case if training did that"
        )
        raise CheckpointError(problem, hint=hint)
    return asked


def _of_vocabulary(path: Path, lower: bool) -> str:
    """The `tokenizer.json` of a `vocab.txt`: a piece a line.

    Raises:
        CheckpointError: It is missing, no text, or has a piece twice.
    """
    hint = f"expected {TOKENIZER} or {VOCABULARY} in the folder of --text-model"
    content = read_bounded(
        path, bytes_max=TOKENIZER_BYTES_MAX, error=CheckpointError, hint=hint, what="a vocabulary"
    )
    try:
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        problem = f"{path} is not text in UTF-8: {error}"
        raise CheckpointError(problem, hint=hint) from error
    pieces = [line.removesuffix("\r") for line in lines]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    if len(vocabulary) < len(pieces):
        problem = f"{path} has a piece twice"
        raise CheckpointError(problem, hint="download it again")
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNKNOWN, continuing_subword_prefix=PREFIX)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _plain(json.loads(tokenizer.to_str()))


def _compare(stored: str, pieces: WordPieces, path: Path) -> None:
    """Refuse a tokenizer that the runtime does not follow.

    Raises:
        CheckpointError: A text is cut otherwise.
    """
    try:
        with rust_panics():
            library = Tokenizer.from_str(stored)
            expected = [library.encode(text).ids for text in TEXTS]
    except Exception as error:  # the library raises nothing more special
        problem = f"{path} cannot be opened: {error}"
        raise CheckpointError(problem, hint="download it again") from error
    for text, tokens in zip(TEXTS, expected, strict=True):
        if pieces.encode(text) != tokens:
            problem = f"{path} cuts {text[:40]!r} otherwise than c2t"
            raise CheckpointError(problem, hint="report it with this file")
