"""The bundle's tokenizer.json writes the texts of the checkpoint's own tokenizer."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHAT_TEMPLATE, tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from c2t.export.checkpoint.text import tokenizer as module
from c2t.export.checkpoint.text.tokenizer import (
    check_texts,
    encode,
    load_tokenizer,
    stored_tokenizer,
)
from c2t.runtime.bundle.text_decoders import ByteLevel
from c2t.runtime.bundle.text_tokenizer import decode_text, read_tokenizer
from c2t.runtime.system.errors import CheckpointError


def own_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    core = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    given = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **(given | options))
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("clean", [True, False])
def test_spaces_are_cleaned_up_as_the_checkpoint_says(clean: bool) -> None:
    tokenizer = own_tokenizer(clean_up_tokenization_spaces=clean)
    content = stored_tokenizer(tokenizer)
    check_texts(content)
    stored = Tokenizer.from_str(content)
    ours = read_tokenizer(content.encode(), "ours", error=CheckpointError, hint="")
    draw = random.Random(1)
    pieces = [" ", "  ", ".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re", "a", "é", "\n"]
    changed = 0
    for _ in range(500):
        text = "".join(draw.choices(pieces, k=draw.randrange(1, 30)))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [6]
        # Broken characters and special tokens too.
        ids = draw.choices(ids, k=len(ids)) if draw.random() < 0.3 else ids
        expected = tokenizer.decode(ids, skip_special_tokens=True)
        assert stored.decode(ids, skip_special_tokens=True) == expected
        assert decode_text(ours, ids) == expected
        changed += expected != tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=True)
    assert (changed > 50) == clean


def test_spaces_are_cleaned_up_behind_a_decoder_of_many_pieces() -> None:
    """A decoder that gives a piece for each token, like that of Llama 2."""
    words = {"▁a": 0, "▁.": 1, "▁n't": 2, "b": 3, "<unk>": 4}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.decoder = decoders.Replace("▁", " ")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=True)
    ids = [0, 1, 3, 2, 0]
    stored = Tokenizer.from_str(stored_tokenizer(tokenizer))
    assert stored.decode(ids) == tokenizer.decode(ids) == " a.bn't a"


def test_a_tokenizer_that_the_runtime_would_read_otherwise_is_refused(monkeypatch) -> None:
    content = stored_tokenizer(own_tokenizer())
    check_texts(content)
    monkeypatch.setattr(ByteLevel, "join", lambda _, words: ["".join(words)])
    with pytest.raises(CheckpointError, match="the runtime decodes text tokens as ") as caught:
        check_texts(content)
    assert caught.value.hint


def test_a_tokenizer_of_a_kind_that_the_runtime_does_not_know_is_refused(tmp_path: Path) -> None:
    tokenizer = own_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.Replace(Regex("Ġ+"), " ")
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="replaces letters by texts"):
        load_tokenizer(tmp_path)


def test_spaces_without_a_decoder_to_follow() -> None:
    core = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=True)
    with pytest.raises(CheckpointError, match="has no decoder"):
        stored_tokenizer(tokenizer)


def test_tokens_that_only_the_config_knows(tmp_path: Path) -> None:
    own_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    number = len(own_tokenizer())
    entry = {
        "content": "GENEWORD", "lstrip": False, "rstrip": False, "normalized": False,
        "single_word": False, "special": False,
    }  # fmt: skip
    known = json.loads(path.read_text())["added_tokens_decoder"]
    edit(path, added_tokens_decoder=known | {str(number): entry})
    tokenizer, stored = load_tokenizer(tmp_path)
    assert tokenizer.decode([number]) == "GENEWORD"
    assert Tokenizer.from_str(stored).decode([number]) == "GENEWORD"


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "is_local": True},
        {"extra_special_tokens": ["<|eot_id|>"]},
        {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|eot_id|>"]},
    ],
)
def test_configs_of_transformers_5(tmp_path: Path, changes: dict[str, Any]) -> None:
    own_tokenizer().save_pretrained(tmp_path)
    edit(tmp_path / "tokenizer_config.json", **changes)
    tokenizer, stored = load_tokenizer(tmp_path)
    ids = tokenizer("Describe this cell.", add_special_tokens=False)["input_ids"]
    assert ids == own_tokenizer()("Describe this cell.", add_special_tokens=False)["input_ids"]
    assert Tokenizer.from_str(stored).decode([*ids, 6]) == "Describe this cell."
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_truncation_and_padding_are_left_behind(tmp_path: Path) -> None:
    own_tokenizer().save_pretrained(tmp_path)
    core = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    core.enable_truncation(max_length=4)
    core.enable_padding(length=64)
    core.save(str(tmp_path / "tokenizer.json"))
    stored = Tokenizer.from_str(load_tokenizer(tmp_path)[1])
    assert stored.truncation is None
    assert stored.padding is None


def test_the_adapters_own_tokenizer_is_used_and_said(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    own_tokenizer().save_pretrained(base)
    adapter.mkdir()
    other = own_tokenizer()
    other.chat_template = CHAT_TEMPLATE.replace("Today", "This")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_tokenizer(base, trained=[adapter])[0].chat_template == CHAT_TEMPLATE
    other.save_pretrained(adapter)
    with pytest.warns(UserWarning, match="adapter.* differs .*: chat template"):
        tokenizer, _ = load_tokenizer(base, trained=[adapter])
    assert tokenizer.chat_template == other.chat_template


def test_the_same_tokenizer_in_the_adapters_folder_is_not_worth_a_word(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        own_tokenizer().save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_tokenizer(base, trained=[adapter])


def test_a_template_alone_in_the_adapters_folder(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    own_tokenizer().save_pretrained(base)
    adapter.mkdir()
    (adapter / "chat_template.jinja").write_text("another")
    with pytest.warns(UserWarning, match="differs"):
        assert load_tokenizer(base, trained=[adapter])[0].chat_template == "another"


def test_only_a_sentencepiece_model(tmp_path: Path) -> None:
    own_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(CheckpointError, match="no usable tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert "sentencepiece" in caught.value.hint


def test_a_file_that_the_library_gives_up_on(tmp_path: Path) -> None:
    own_tokenizer().save_pretrained(tmp_path)
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 9}
    edit(tmp_path / "tokenizer.json", truncation=cut)
    with pytest.raises(CheckpointError, match=r"no usable tokenizer .*stride"):
        load_tokenizer(tmp_path)


def test_a_panic_of_the_library_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):  # as PyO3 makes one in every library
        pass

    def panic(*_: object, **__: object) -> None:
        message = "index out of bounds"
        raise PanicException(message)

    own_tokenizer().save_pretrained(tmp_path)
    monkeypatch.setattr(module.AutoTokenizer, "from_pretrained", panic)
    with pytest.raises(CheckpointError, match="index out of bounds"):
        load_tokenizer(tmp_path)
    tokenizer = own_tokenizer()
    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", panic)
    with pytest.raises(CheckpointError, match=r"cannot encode .*out of bounds"):
        encode(tokenizer, "x")
