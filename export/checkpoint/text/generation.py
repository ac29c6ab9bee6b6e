"""How a checkpoint's texts are generated: what its files ask for, and what the options say.

One decision: a setting that changes a text is taken as `generate` takes it, refused by name, or
left out in words. The order is that of the reference: options, its own config.json beside the
weights, the decoder's generation_config.json, and then its defaults.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from transformers import PreTrainedTokenizerBase

from c2t.export.checkpoint.configs import CONFIG, read_json, read_reference_fields
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.system.errors import CheckpointError

GENERATION_CONFIG = "generation_config.json"
# What Cell2Text's reference passes to `generate` when nothing says otherwise; beams: greedy.
CELL2TEXT = {"max_new_tokens": 100, "no_repeat_ngram_size": 3}
IGNORE = "--ignore-generation-config"

# The defaults of transformers, with which a setting changes nothing; None never does.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "max_new_tokens": (),
    "num_beams": (1,),
    "no_repeat_ngram_size": (0,),
    "early_stopping": (False,),
    "length_penalty": (1,),
    "repetition_penalty": (1,),
    "stop_strings": ([],),
}
_REFUSED: dict[str, tuple[object, ...]] = {
    "encoder_repetition_penalty": (1,),
    "encoder_no_repeat_ngram_size": (0,),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "bad_words_ids": ([],),
    "sequence_bias": ([], {}),
    "constraints": ([],),
    "force_words_ids": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "forced_decoder_ids": ([],),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1,),
    "max_time": (),
    "num_beam_groups": (1,),
    "diversity_penalty": (0,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "renormalize_logits": (False,),
    "watermarking_config": ({},),
    "token_healing": (False,),
    "cache_implementation": (
        *("dynamic", "static", "offloaded", "offloaded_static", "hybrid", "sliding_window"),
    ),
}
# They count only where tokens are drawn at random.
_SAMPLING = (
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
# They say how `generate` works, not what it writes; `max_length` gives way to max_new_tokens.
_HARMLESS = frozenset(
    (
        *("max_length", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
        *("use_cache", "cache_config", "return_legacy_cache", "prefill_chunk_size"),
        *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
        *("return_dict_in_generate", "remove_invalid_values", "low_memory", "is_assistant"),
        *("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_early_exit"),
        *("assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind"),
        *("prompt_lookup_num_tokens", "max_matching_ngram_size", "compile_config"),
        *("disable_compile", "transformers_version", "_from_model_config", "_commit_hash"),
        *("generation_kwargs", "trust_remote_code"),
    )
)
_CHOICES: dict[str, bool | Literal["never"]] = {"true": True, "false": False, "never": "never"}


class _Values(msgspec.Struct, frozen=True, omit_defaults=True):
    """Settings that the runtime has, with their types; None: not stated."""

    max_new_tokens: int | None = None
    num_beams: int | None = None
    no_repeat_ngram_size: int | None = None
    early_stopping: bool | Literal["never"] | None = None
    length_penalty: float | None = None
    repetition_penalty: float | None = None
    stop_strings: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class _File:
    """What a file says of generation.

    Attributes:
        explicit: Whether a value counts where it is the default of transformers, too.
    """

    path: Path
    fields: dict[str, Any]
    explicit: bool = False

    def stated(self, known: dict[str, tuple[object, ...]]) -> dict[str, Any]:
        """Settings among `known` that are not as if they were missing."""
        return {
            name: value
            for name, value in self.fields.items()
            if name in known and value is not None and value not in known[name]
        }

    def supported(self) -> dict[str, Any]:
        """Values of the settings that the runtime has, their types checked."""
        try:
            values = msgspec.convert({n: self.fields.get(n) for n in _SUPPORTED}, _Values)
        except msgspec.ValidationError as error:
            problem = f"{self.path}: {error}"
            raise CheckpointError(problem, hint="correct the value, or remove it") from error
        stated = self.fields if self.explicit else self.stated(_SUPPORTED)
        chosen = {n: getattr(values, n) for n in _SUPPORTED if n in stated}
        if isinstance(chosen.get("stop_strings"), str):
            chosen["stop_strings"] = (chosen["stop_strings"],)
        return {n: value for n, value in chosen.items() if value is not None}


def read_generation(
    options: CheckpointOptions,
    llama: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    usual: Mapping[str, int] = CELL2TEXT,
) -> Generation:
    """The generation settings of a checkpoint in parts.

    Args:
        options: Where the checkpoint is, and the settings that win over all files.
        llama: The decoder's folder.
        tokenizer: Its end token counts where no file names one.
        usual: What holds where nothing says otherwise.

    Raises:
        CheckpointError: A setting that changes the text and that the runtime does not have, one
            that the reference would not have used, a value of another type, or no end token.

    Warns:
        UserWarning: What is left out.
    """
    base, reference = _base_file(llama), _reference_file(options.checkpoint)
    ignore = options.ignore_generation_config
    for file in (base, reference):
        _refuse_unsupported(file, ignore=ignore)
        _tell_of_sampling(file)
    _tell_of_unknown(base)
    _compare_with_others(base, options)
    chosen = option_values(options)
    own, stated = reference.supported(), base.supported()
    if ignore and stated:
        _warn(f"{base.path} is left out as asked ({IGNORE}): {_listed(stated)}")
        stated = {}
    if usual is CELL2TEXT:
        _ask(base.path, stated, chosen, own)
    for file, values in ((reference, own), (base, stated)):
        _tell_of_replaced(file.path, values, chosen)
    if "num_beams" in stated and "num_beams" not in own:
        # transformers goes on searching unless the file says otherwise; the reference does not.
        stated.setdefault("early_stopping", False)
    ends = {"eos_token_ids": _end_tokens(llama, tokenizer)}
    return Generation(**({**usual} | ends | stated | own | chosen))


def option_values(options: CheckpointOptions) -> dict[str, Any]:
    """Generation settings that the options give.

    Raises:
        CheckpointError: `early_stopping` is none of its words.
    """
    given = {n: getattr(options, n) for n in _SUPPORTED if getattr(options, n) is not None}
    if "stop_strings" in given:
        given["stop_strings"] = tuple(given["stop_strings"])
    word = given.get("early_stopping")
    if word is not None:
        if word not in _CHOICES:
            problem = f"--early-stopping is {word!r}"
            raise CheckpointError(problem, hint=f"give one of {', '.join(_CHOICES)}")
        given["early_stopping"] = _CHOICES[word]
    return given


def _base_file(llama: Path) -> _File:
    """generation_config.json; without one, transformers takes such settings from config.json."""
    path = llama / GENERATION_CONFIG
    if path.is_file():
        return _File(path, read_json(path))
    path = llama / CONFIG
    known = {*_SUPPORTED, *_REFUSED, *_SAMPLING}
    return _File(path, {n: v for n, v in read_json(path).items() if n in known})


def _reference_file(checkpoint: Path | None) -> _File:
    """The config.json of the reference's own saves, which passes all of it to `generate`."""
    path, fields = read_reference_fields(checkpoint)
    known = {*_SUPPORTED, *_REFUSED, *_SAMPLING} - {"top_k"}  # that one counts genes
    said = {n: v for n, v in fields.items() if n in known}
    return _File(path, said | {"max_new_tokens": fields.get("max_length")}, explicit=True)


def _refuse_unsupported(file: _File, *, ignore: bool) -> None:
    wrong = file.stated(_REFUSED)
    if not wrong:
        return
    if ignore:
        _warn(f"{file.path} is left out as asked ({IGNORE}): {_listed(wrong)}")
        return
    problem = f"{file.path} changes the texts in ways that c2t cannot: {_listed(wrong)}"
    raise CheckpointError(
        problem, hint=f"pass {IGNORE} if the model is to be used without; the texts will differ"
    )


def _compare_with_others(base: _File, options: CheckpointOptions) -> None:
    """Refuse to choose between the decoder's file and another one beside what was trained."""
    beside = None if options.checkpoint is None else options.checkpoint.parent
    for folder in (options.adapter, beside):
        path = base.path if folder is None else folder / GENERATION_CONFIG
        if not path.is_file() or path.resolve() == base.path.resolve():
            continue
        other = _File(path, read_json(path))
        here, there = (_with_ends(file) for file in (base, other))
        if here == there:
            continue
        if options.ignore_generation_config:
            _warn(f"{path} is left out as asked ({IGNORE}): {_listed(there)}")
            continue
        problem = f"{path} says {_listed(there)}, but {base.path} {_listed(here)}"
        raise CheckpointError(
            problem, hint=f"copy the one of the training run to the other place, or pass {IGNORE}"
        )


def _with_ends(file: _File) -> dict[str, Any]:
    """What changes a text in a file, its end tokens included."""
    ends = file.fields.get("eos_token_id")
    listed = sorted(map(str, ends if isinstance(ends, list) else [ends]))
    return file.stated({**_SUPPORTED, **_REFUSED}) | {"eos_token_id": listed}


def _ask(path: Path, stated: dict[str, Any], chosen: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse to guess where the file contradicts what the reference always passes itself."""
    for name, value in CELL2TEXT.items():
        if name in chosen or name in own or stated.get(name, value) == value:
            continue
        option = f"--{name.replace('_', '-')}"
        problem = f"{path} says {name} {stated[name]}, where Cell2Text's own code passes {value}"
        raise CheckpointError(problem, hint=f"say which: {option} {stated[name]} or {value}")


def _tell_of_replaced(path: Path, stated: dict[str, Any], chosen: dict[str, Any]) -> None:
    replaced = {n: v for n, v in stated.items() if n in chosen and chosen[n] != v}
    if replaced:
        now = _listed({n: chosen[n] for n in replaced})
        _warn(f"{path} says {_listed(replaced)}; the options win: {now}")


def _tell_of_sampling(file: _File) -> None:
    if file.fields.get("do_sample"):
        drawn = {n: file.fields[n] for n in _SAMPLING if n in file.fields}
        _warn(
            f"{file.path} asks for random texts ({_listed(drawn)}); "
            "here the most probable one is written"
        )


def _tell_of_unknown(base: _File) -> None:
    known = {*_SUPPORTED, *_REFUSED, *_SAMPLING, *_HARMLESS}
    unknown = [n for n, v in base.fields.items() if n not in known and v is not None]
    if unknown:
        _warn(f"{base.path}: not known to c2t, and left out: {', '.join(sorted(unknown))}")


def _end_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end tokens `generate` would use: generation_config.json, then config.json."""
    for name in (GENERATION_CONFIG, CONFIG):
        ends = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        listed = ends if isinstance(ends, list) else [ends]
        if ends is None or not listed:
            continue
        if not all(isinstance(end, int) and not isinstance(end, bool) for end in listed):
            problem = f"{folder / name}: eos_token_id is {ends!r}"
            raise CheckpointError(problem, hint="it must be a token id, or a list of them")
        return tuple(listed)
    if tokenizer.eos_token_id is None:
        problem = f"{folder} names no end token"
        raise CheckpointError(problem, hint="add eos_token_id to generation_config.json")
    return (int(tokenizer.eos_token_id),)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: object, most: int = 60) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)
