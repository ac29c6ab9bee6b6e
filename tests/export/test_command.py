"""The options of `c2t export` are those of its dataclasses, and reach the bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from c2t.export.checkpoint.options import CheckpointOptions

PRESET = ("--preset", "llama-tiny+geneformer-tiny", "--random")


@pytest.mark.parametrize("words", [("--top-k", "0"), ("--seed", "-1"), ("--num-beams", "0")])
def test_numbers_out_of_their_range(
    call_c2t: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert call_c2t("export", "-o", tmp_path / "bundle", *PRESET, *words).returncode == 2


def test_every_option_of_a_checkpoint_is_one_of_the_command(call_c2t: Callable[..., Any]) -> None:
    shown = call_c2t("export", "--help").stdout
    for field in fields(CheckpointOptions):
        own = {"folder": "[folder]", "stop_strings": "--stop "}
        name = own.get(field.name, f"--{field.name.replace('_', '-')} ")
        assert name in shown.lower()


def test_a_preset_is_exported(call_c2t: Callable[..., Any], tmp_path: Path) -> None:
    options = ("--projector", "perceiver", "--seed", 4, "--top-k", 32)
    done = call_c2t("export", "-o", tmp_path / "bundle", *PRESET, *options)
    assert done.returncode == 0, done.stderr
    shown = call_c2t("info", tmp_path / "bundle").stdout
    assert "projector perceiver, seed 4" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--family", "cellular"), "cell2text, cell2sentence"),
        (("--family", "cell2sentence"), "takes --model FOLDER"),
        (("--model", "folder"), "--model folder is a model of which family?"),
        (("--family", "cell2sentence", "--model", "x", *PRESET), "no preset"),
    ],
)
def test_a_family_goes_with_its_model(
    call_c2t: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = call_c2t("export", "-o", tmp_path / "bundle", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint: " in done.stderr
