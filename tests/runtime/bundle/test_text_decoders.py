"""Texts are those of the library `tokenizers`, for every family of tokenizers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_data import BUNDLES

import c2t
from c2t.runtime.bundle.text_tokenizer import TextTokenizer, decode_text, read_tokenizer
from c2t.runtime.system.errors import BundleError

DEMO = Path(c2t.__file__).parent / "examples/demo/checkpoint/llama/tokenizer.json"
LINES = (
    "This sample consists of a CD14-positive monocyte, a large circulating phagocyte.",
    "It doesn't originate from the blood . Is it αβ? ΔNp63, naïve, 世 and 😀!\n\n  tabs\tand more",
    "B cells do not, won't and can't; we've seen they're 'm and 's. <unk> [SEP] ▁ Ġ |",
)
BYTE_LEVEL = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def load(document: dict[str, Any]) -> TextTokenizer:
    content = json.dumps(document).encode()
    return read_tokenizer(content, "tokenizer.json", error=BundleError, hint="mend it")


def document(words: list[str], decoder: dict[str, Any] | None, *added: str) -> dict[str, Any]:
    """The parts of a `tokenizer.json` that matter, and those that the library misses else."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": 900 + place, "content": word, "special": word.startswith("<|"), **flags}
            for place, word in enumerate(added)
        ],
        "decoder": decoder,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": words[0],
        },
    }


def chain(*decoders: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "decoders": list(decoders)}


SPACES = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
LLAMA_2 = chain(SPACES, {"type": "ByteFallback"}, {"type": "Fuse"}, STRIP)
METASPACE = {"type": "Metaspace", "replacement": "▁", "split": True}


# What the library makes of them, written down: these hold where it is not installed.
@pytest.mark.parametrize(
    ("decoder", "words", "text"),
    [
        (None, ["a", "b"], "a b"),
        ({"type": "ByteLevel", **BYTE_LEVEL}, ["B", "Ġcell", "Ċ", "ä\u00b8ĸ"], "B cell\n世"),
        ({"type": "ByteLevel", **BYTE_LEVEL}, ["x", "ä\u00b8", "Ġy"], "x\ufffd y"),
        ({"type": "ByteLevel", **BYTE_LEVEL}, ["ä\u00b8ĸ", "世 世", "Ġ"], "世世 世 "),
        (LLAMA_2, ["▁B", "▁cell", "<0xE4>", "<0xB8>", "<0x96>"], "B cell世"),
        (LLAMA_2, ["▁", "<0xE4>", "<0xB8>", "x"], "\ufffd\ufffdx"),
        (LLAMA_2, ["▁<0x41>", "<0x+9>", "<0xag>"], "<0x41>\t<0xag>"),
        ({**METASPACE, "prepend_scheme": "always"}, ["▁B▁", "▁c▁d"], "B c d"),
        ({**METASPACE, "prepend_scheme": "never"}, ["▁B", "▁c"], " B c"),
        ({**METASPACE, "add_prefix_space": True}, ["▁B", "▁c"], "B c"),
        (
            {"type": "WordPiece", "prefix": "##", "cleanup": True},
            ["##ma", "##cro", "phage", ",", "do not", "n't"],
            "##macro phage, don'tn't",
        ),
        (
            {"type": "WordPiece", "prefix": "##", "cleanup": False},
            ["mono", "##cyte", "."],
            "monocyte .",
        ),
        ({"type": "BPEDecoder", "suffix": "</w>"}, ["T", "</w>", "cell</w>", "s</w>"], "T cell s"),
        (
            {
                "type": "CTC",
                "pad_token": "<pad>",
                "word_delimiter_token": "|",
                "cleanup": True,
            },
            ["<pad>", "a", "a", "<pad>", "a", "|", "b", "b"],
            "aa b",
        ),
        ({"type": "Strip", "content": "a", "start": 1, "stop": 2}, ["aabaaa", "b"], "abab"),
    ],
)
def test_texts_by_hand(decoder: dict[str, Any] | None, words: list[str], text: str) -> None:
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    ids = [numbers[word] for word in words]
    made = document([*numbers, "<|end|>"], decoder, "<|end|>")
    assert decode_text(load(made), [*ids, len(numbers)]) == text
    if find_spec("tokenizers") is None:
        return
    from tokenizers import Tokenizer

    assert Tokenizer.from_str(json.dumps(made)).decode(ids, skip_special_tokens=True) == text


def test_words_of_added_tokens_are_those_of_the_library() -> None:
    made = document(["a", "b", "<|x|>"], None, "<|end|>", "b", "plain", "<|x|>", "plain")
    tokenizer = load(made)
    assert decode_text(tokenizer, [0, 1, 2, 3, 4]) == "a b plain"
    assert tokenizer.size == 5
    made["model"]["vocab"]["b"] = 3  # a number that an added token gets
    with pytest.raises(BundleError, match="several words for one text token") as caught:
        load(made)
    assert caught.value.hint


def byte_level(library: Any) -> Any:
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def llama_3(library: Any) -> Any:
    """Its special tokens lie behind the vocabulary."""
    tokenizer = byte_level(library)
    names = ["begin_of_text", "end_of_text", "reserved_special_token_0", "eot_id"]
    tokenizer.add_special_tokens([f"<|{name}|>" for name in names])
    return tokenizer


def qwen(library: Any) -> Any:
    """Some of its added tokens are not special."""
    tokenizer = byte_level(library)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", " two words "])
    return tokenizer


def neox(library: Any) -> Any:
    """Its special tokens come first; runs of spaces are added."""
    tokenizer = byte_level(library)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    tokenizer.add_tokens([" " * count for count in range(2, 9)])
    tokenizer.post_processor = library.processors.ByteLevel(trim_offsets=True)
    return tokenizer


def sentence_pieces(library: Any, decoder: Any, *, prepend: bool) -> Any:
    tokenizer = library.Tokenizer(library.models.BPE(byte_fallback=True, fuse_unk=True))
    spaces = [library.normalizers.Replace(" ", "▁")]
    start = [library.normalizers.Prepend("▁")] if prepend else []
    tokenizer.normalizer = library.normalizers.Sequence(start + spaces)
    tokenizer.decoder = decoder
    bytes_and_more = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = library.trainers.BpeTrainer(
        vocab_size=450, special_tokens=bytes_and_more, show_progress=False
    )
    tokenizer.train_from_iterator(LINES[:1] * 3, trainer)
    # As in the real files, the bytes are words of the model only.
    fields = json.loads(tokenizer.to_str())
    fields["added_tokens"] = fields["added_tokens"][:3]
    return library.Tokenizer.from_str(json.dumps(fields))


def llama_2(library: Any) -> Any:
    d = library.decoders
    parts = [d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)]
    return sentence_pieces(library, d.Sequence(parts), prepend=True)


def gemma(library: Any) -> Any:
    d = library.decoders
    decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse()])
    return sentence_pieces(library, decoder, prepend=False)


def unigram(library: Any) -> Any:
    tokenizer = library.Tokenizer(library.models.Unigram())
    tokenizer.pre_tokenizer = library.pre_tokenizers.Metaspace()
    tokenizer.decoder = library.decoders.Metaspace()
    trainer = library.trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    trainer.show_progress = False
    tokenizer.train_from_iterator(LINES * 5, trainer)
    return tokenizer


def bert(library: Any) -> Any:
    tokenizer = library.Tokenizer(library.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = library.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = library.decoders.WordPiece()
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def old_gpt(library: Any) -> Any:
    tokenizer = library.Tokenizer(library.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = library.decoders.BPEDecoder()
    trainer = library.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def committed(path: Path) -> Callable[[Any], Any]:
    return lambda library: library.Tokenizer.from_file(str(path))


FAMILIES = {
    **{f.__name__: f for f in (llama_3, qwen, neox, llama_2, gemma, unigram, bert, old_gpt)},
    "demo": committed(DEMO),
    **{f"tiny {name}": committed(folder / "tokenizer.json") for name, folder in BUNDLES.items()},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_the_library(family: str) -> None:
    library = pytest.importorskip("tokenizers", reason="tokenizers is not installed: c2t[export]")
    plain = FAMILIES[family](library)
    ours = read_tokenizer(plain.to_str().encode(), family, error=BundleError, hint="mend it")
    assert ours.size == plain.get_vocab_size()
    tokens = sorted(ours.words)
    assert [ours.words[token] for token in tokens] == [plain.id_to_token(t) for t in tokens]
    assert plain.id_to_token(tokens[-1] + 1) is None
    draw = random.Random(0)
    texts = [plain.encode(line, add_special_tokens=False).ids for line in LINES]
    cut = [ids[a:b] for ids in texts for a in range(0, len(ids), 7) for b in range(a, len(ids), 5)]
    for ids in cut + [draw.choices(tokens, k=draw.choice((1, 2, 5, 40))) for _ in range(2000)]:
        assert decode_text(ours, ids) == plain.decode(ids, skip_special_tokens=True), ids


DECODERS = (
    *({"type": "ByteLevel", **BYTE_LEVEL}, {"type": "ByteFallback"}, {"type": "Fuse"}),
    *({**METASPACE, "prepend_scheme": scheme} for scheme in ("always", "first", "never")),
    *({"type": "WordPiece", "prefix": p, "cleanup": c} for p in ("##", "") for c in (True, False)),
    *({"type": "BPEDecoder", "suffix": suffix} for suffix in ("</w>", "a", "")),
    {"type": "CTC", "pad_token": "a", "word_delimiter_token": " ", "cleanup": True},
    {"type": "CTC", "pad_token": "", "word_delimiter_token": "|", "cleanup": False},
    *(SPACES, {"type": "Replace", "pattern": {"String": "a "}, "content": ""}),
    *({"type": "Strip", "content": c, "start": n, "stop": n} for c in " a" for n in (0, 1, 2)),
    chain(),
)
PARTS = (
    *("a", "b", "Ġ", "Ċ", "▁", " ", "#", "##", "</w>", "|", "é", "世", "😀", "\xad", "\xa0"),
    *("<0xE4>", "<0xB8>", "<0x96>", "<0x+5>", "<0xZZ>", "n't", " do not", " 's", " .", "'"),
)


def test_any_chain_of_decoders_does_what_the_library_does() -> None:
    library = pytest.importorskip("tokenizers", reason="tokenizers is not installed: c2t[export]")
    draw = random.Random(1)
    given_up = 0
    for _ in range(300):
        parts = ["".join(draw.choices(PARTS, k=draw.choice((1, 1, 2, 3)))) for _ in range(40)]
        decoder = chain(*draw.choices(DECODERS, k=draw.choice((1, 2, 3))))
        words = list(dict.fromkeys(parts))
        made = document(words, decoder, "<|end|>", words[2], "added")
        ours, plain = load(made), library.Tokenizer.from_str(json.dumps(made))
        for _ in range(10):
            ids = draw.choices(sorted(ours.words), k=draw.choice((0, 1, 2, 9, 60)))
            try:
                text = decode_text(ours, ids)
            except BundleError:
                # The library panics: it prints a trace, and raises what is no Exception.
                with pytest.raises(BaseException, match=r"out of bounds|slice index starts"):
                    plain.decode(ids, skip_special_tokens=True)
                given_up += 1
            else:
                assert text == plain.decode(ids, skip_special_tokens=True), (decoder, ids)
    assert given_up > 10
