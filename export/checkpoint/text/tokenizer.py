"""The text tokenizer of a decoder, from local files only, and what the bundle keeps of it.

One decision: the bundle's tokenizer.json is what the loaded tokenizer says of itself. Files beside
it (tokenizer_config.json, added_tokens.json) change tokens and texts; the runtime reads one file.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from c2t.export.checkpoint.configs import read_json
from c2t.runtime.bundle.text_tokenizer import (
    ADDED_CHARACTERS_MAX,
    TOKENIZER_BYTES_MAX,
    decode_text,
    read_tokenizer,
)
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError, CheckpointError
from c2t.runtime.system.rust_panics import RustPanicError, rust_panics

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
TEMPLATE_BYTES_MAX = 1 << 20
BACKEND = "TokenizersBackend"  # what transformers 5 calls PreTrainedTokenizerFast
SEQUENCE = 64  # text tokens that are decoded together to compare texts
# `clean_up_tokenization` of transformers, in its order.
CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def load_tokenizer(
    folder: Path, *, trained: Sequence[Path] = (), chat_template: str | None = None
) -> tuple[PreTrainedTokenizerBase, str]:
    """Load a fast tokenizer.

    Args:
        folder: The decoder's.
        trained: Folders of what was trained; the first with a tokenizer of its own wins, as
            training scripts save the one that they used.
        chat_template: Name of one of its templates, or a file; None takes its only or default one.

    Returns:
        The tokenizer with one chat template or none, and the `tokenizer.json` for the bundle.

    Raises:
        CheckpointError: The folder has no usable tokenizer, or no such template.

    Warns:
        UserWarning: The tokenizer is not the decoder's own.
    """
    others = [other for other in trained if other.resolve() != folder.resolve()]
    own = next((other for other in others if (other / TOKENIZER).is_file()), None)
    tokenizer = _load(folder if own is None else own)
    if own is not None and (folder / TOKENIZER).is_file():
        _compare(folder, own, tokenizer)
    for other in others:
        if own is None and (other / TEMPLATE).is_file():
            template = _read_template(other / TEMPLATE)
            if template != tokenizer.chat_template:
                _warn(f"the chat template is {other / TEMPLATE}, which differs from {folder}'s")
            tokenizer.chat_template = template
    tokenizer.chat_template = _one_template(tokenizer.chat_template, chat_template)
    stored = stored_tokenizer(tokenizer)
    check_texts(stored)
    return tokenizer, stored


def stored_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """The `tokenizer.json` whose texts are those of a tokenizer, its clean-up of spaces included.

    Raises:
        CheckpointError: It has no decoder that a clean-up can follow.
    """
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    text = str(tokenizer.backend_tokenizer.to_str())
    if not tokenizer.clean_up_tokenization_spaces:
        return text
    fields: dict[str, Any] = json.loads(text)
    if fields.get("decoder") is None:
        problem = "the tokenizer cleans up spaces, but has no decoder"
        raise CheckpointError(
            problem, hint=f"set clean_up_tokenization_spaces to false in {TOKENIZER_CONFIG}"
        )
    rules = [
        {"type": "Replace", "pattern": {"String": old}, "content": new} for old, new in CLEAN_UP
    ]
    # Fuse joins the tokens first: a space and what follows it are often two of them.
    decoders = [fields["decoder"], {"type": "Fuse"}, *rules]
    fields["decoder"] = {"type": "Sequence", "decoders": decoders}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def check_texts(stored: str) -> None:
    """Refuse a `tokenizer.json` whose texts the runtime would write otherwise than its library.

    Every text token is decoded once, in sequences by chance.

    Args:
        stored: Content of the file.

    Raises:
        CheckpointError: The runtime does not know its kind, or some text differs.
    """
    hint = "report it with the checkpoint's tokenizer.json"
    ours = read_tokenizer(stored.encode(), TOKENIZER, error=CheckpointError, hint=hint)
    library = Tokenizer.from_str(stored)
    tokens = list(ours.words)
    Random(0).shuffle(tokens)
    for start in range(0, len(tokens), SEQUENCE):
        chosen = tokens[start : start + SEQUENCE]
        try:
            text = decode_text(ours, chosen)
        except BundleError:  # tokens in an order that no text has: the library gives up, too
            continue
        expected = library.decode(chosen, skip_special_tokens=True)
        if text != expected:
            problem = f"the runtime decodes text tokens as {text!r}, their library as {expected!r}"
            raise CheckpointError(problem, hint=hint)


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The text tokens of a text, without any that a tokenizer adds.

    Raises:
        CheckpointError: The tokenizer's library gives up.
    """
    try:
        with rust_panics():
            return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    except RustPanicError as error:
        problem = f"the tokenizer cannot encode the prompt: {error}"
        raise CheckpointError(problem, hint="save it again with transformers 4.57") from error


def _load(folder: Path) -> PreTrainedTokenizerBase:
    path = folder / TOKENIZER_CONFIG
    config = read_json(path) if path.is_file() else {}
    _check_lengths(folder)
    extra = config.get("extra_special_tokens")
    # transformers 5 writes a list where 4 has a dictionary. Its tokenizer.json is the same.
    options: dict[str, Any] = {}
    if isinstance(extra, list):
        options = {"extra_special_tokens": {}, "additional_special_tokens": extra}
    plain = config.get("tokenizer_class") == BACKEND and (folder / TOKENIZER).is_file()
    loader = PreTrainedTokenizerFast if plain else AutoTokenizer
    try:
        with rust_panics(), _no_word_of_the_class():
            tokenizer: PreTrainedTokenizerBase = loader.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,  # else a folder that brings code makes transformers ask
                # Some versions ask every big vocabulary beside a new config whether it is Mistral's
                fix_mistral_regex=False,
                **options,
            )
    # The one call above is all the library's. Its Rust part raises plain `Exception` for a damaged
    # file, and its Python part whatever a missing or wrong entry leads to.
    except Exception as error:
        first = str(error).partition("\n")[0]
        problem = f"no usable tokenizer in {folder}: {first}"
        hint = "save it again with transformers 4.57, as tokenizer.json"
        if not (folder / TOKENIZER).is_file():
            hint = (
                "it needs tokenizer.json; to convert a tokenizer.model: `pip install sentencepiece`"
                " and `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` in Python"
            )
        raise CheckpointError(problem, hint=hint) from error
    if not tokenizer.is_fast:
        problem = f"the tokenizer in {folder} has no tokenizer.json"
        raise CheckpointError(problem, hint="save it with a current transformers")
    return tokenizer


def _check_lengths(folder: Path) -> None:
    """Refuse tokens that opening would take hours for.

    Raises:
        CheckpointError: One is longer than any that a tokenizer has.
    """
    hint = "save the tokenizer again, or download its folder again"
    if (path := folder / TOKENIZER).is_file():
        content = read_bounded(
            path, bytes_max=TOKENIZER_BYTES_MAX, error=CheckpointError, hint=hint
        )
        read_tokenizer(content, str(path), error=CheckpointError, hint=hint)
    for name in (TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json"):
        if (path := folder / name).is_file():
            fields = {k: v for k, v in read_json(path).items() if k != "chat_template"}
            longest = max(_lengths(fields), default=0)
            if longest > ADDED_CHARACTERS_MAX:
                problem = f"{path} has a text of {longest:,} characters where tokens are"
                raise CheckpointError(problem, hint=hint)


def _lengths(value: Any) -> Iterator[int]:
    """Characters of all texts in JSON, names included."""
    if isinstance(value, str):
        yield len(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield len(name)
            yield from _lengths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _lengths(inner)


@contextmanager
def _no_word_of_the_class() -> Iterator[None]:
    """Keep transformers from warning that a class of version 5 is not that of version 4."""
    logger = logging.getLogger("transformers.tokenization_utils_base")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _compare(folder: Path, own: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Say in what the tokenizer of the trained part differs from the decoder's.

    One without a chat template gets the decoder's.
    """
    base = _load(folder)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = base.chat_template
    differing = {
        "tokens": stored_tokenizer(base) != stored_tokenizer(tokenizer),
        "chat template": base.chat_template != tokenizer.chat_template,
    }
    names = " and ".join(name for name, differs in differing.items() if differs)
    if names:
        _warn(f"the tokenizer is that of {own}; it differs from that of {folder} in: {names}")


def _one_template(templates: str | dict[str, str] | None, wanted: str | None) -> str | None:
    """The chat template to use: the named one, else the only or default one."""
    named = templates if isinstance(templates, dict) else {}
    if wanted is None:
        if not isinstance(templates, dict):
            return templates
        if "default" in named:
            return named["default"]
        problem = f"the tokenizer has chat templates without a default: {', '.join(named)}"
        raise CheckpointError(problem, hint=f"choose one: --chat-template {next(iter(named), '')}")
    if wanted in named:
        return named[wanted]
    path = Path(wanted)
    if not path.is_file():
        shown = ", ".join(named) or "none by name"
        problem = f"there is no chat template {wanted!r}, as a name or file"
        raise CheckpointError(problem, hint=f"the tokenizer has {shown}; or give a .jinja file")
    return _read_template(path)


def _read_template(path: Path) -> str:
    hint = "give a text file in UTF-8"
    content = read_bounded(path, bytes_max=TEMPLATE_BYTES_MAX, error=CheckpointError, hint=hint)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"cannot read {path}: {error}"
        raise CheckpointError(problem, hint=hint) from error


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)
