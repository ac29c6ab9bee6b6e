"""What makes the export of a Cell2Sentence model fail is refused before a weight is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_sentences import POSITIONS, sentence_tokenizer

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.system.errors import C2TError, CheckpointError


@pytest.fixture
def damaged(sentence_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A model whose weights cannot be read."""
    folder = tmp_path / "damaged"
    shutil.copytree(sentence_folders["gpt_neox"], folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    return folder


def refused(model: Path | None, output: Path, **options: Any) -> C2TError:
    """The error of an export that leaves nothing behind and reads no weight."""
    before = sorted(output.parent.iterdir())
    reference = options.pop("reference", None)
    given = {"family": "cell2sentence", "model": model} | options
    with pytest.raises(C2TError) as caught:
        export_bundle(
            ExportOptions(output=output, checkpoint=CheckpointOptions(**given), reference=reference)
        )
    assert "no readable safetensors" not in str(caught.value)
    assert sorted(output.parent.iterdir()) == before
    assert caught.value.hint
    return caught.value


def change(path: Path, **changes: Any) -> None:
    fields = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(fields | changes))


def test_the_damage_is_seen_in_the_end(damaged: Path, tmp_path: Path) -> None:
    checkpoint = CheckpointOptions(family="cell2sentence", model=damaged, top_genes=20)
    with pytest.raises(CheckpointError, match="safetensors"):
        export_bundle(ExportOptions(output=tmp_path / "out", checkpoint=checkpoint))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"model": None}, "needs --model"),
        ({"model": Path("none")}, "no model's folder"),
        ({"family": "cellular"}, "'cellular'"),
        ({"geneformer": Path("x"), "system_message": "y"}, "--geneformer, --system-message"),
        ({"folder": Path("x")}, "FOLDER"),
        ({"top_k": 5}, "--top-k"),
        ({"template": "tissue"}, "several cells"),
        ({"organism": ["martian"]}, "martian"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"max_new_tokens": POSITIONS}, f"{POSITIONS} positions"),
        ({"top_genes": 2000}, "2000 genes"),
        ({"adapter": Path("none")}, "no adapter folder"),
        ({"phrases": Path("none.txt")}, "none.txt"),
        ({"fields": Path("none.json")}, "none.json"),
        ({"early_stopping": "soon"}, "--early-stopping is 'soon'"),
        ({"reference": Path("cells.json")}, "--reference does not go"),
    ],
)
def test_options(damaged: Path, tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    error = refused(options.pop("model", damaged), tmp_path / "out", **options)
    assert problem in error.problem


def test_the_context_is_too_short(damaged: Path, tmp_path: Path) -> None:
    error = refused(damaged, tmp_path / "out", top_genes=900)
    assert f"the decoder has {POSITIONS} positions, but about" in error.problem
    assert "for a prompt of 900 genes" in error.problem
    assert error.hint == "pass smaller --top-genes or --max-new-tokens"


def test_a_model_of_another_kind(damaged: Path, tmp_path: Path) -> None:
    change(damaged / "config.json", model_type="gpt2")
    error = refused(damaged, tmp_path / "out")
    assert "model_type is 'gpt2'" in error.problem
    assert "gpt_neox (GPT-NeoX)" in error.hint


def test_a_cell2text_checkpoint(tiny_checkpoint_folder: Path, tmp_path: Path) -> None:
    error = refused(tiny_checkpoint_folder, tmp_path / "out")
    assert "is a Cell2Text checkpoint" in error.problem


def test_the_tokenizer_of_another_model(damaged: Path, tmp_path: Path) -> None:
    sentence_tokenizer("gemma2").save_pretrained(damaged)
    change(damaged / "config.json", vocab_size=300)
    error = refused(damaged, tmp_path / "out", top_genes=20)
    assert "the decoder's table has 300 rows" in error.problem
    change(damaged / "config.json", vocab_size=50304)
    assert "tokens for the 50304" in refused(damaged, tmp_path / "out", top_genes=20).problem


def test_end_tokens_that_are_none(damaged: Path, tmp_path: Path) -> None:
    change(damaged / "generation_config.json", eos_token_id=100_000)
    error = refused(damaged, tmp_path / "out", top_genes=20)
    assert "an end token (eos_token_id) is text token 100000" in error.problem
    assert "--model" in error.hint


def test_settings_that_change_texts(damaged: Path, tmp_path: Path) -> None:
    change(damaged / "generation_config.json", min_new_tokens=5)
    error = refused(damaged, tmp_path / "out", top_genes=20)
    assert "min_new_tokens 5" in error.problem


@pytest.mark.parametrize("name", ["model", "template", "top_genes", "organism"])
def test_options_of_this_family_go_with_it_alone(
    tiny_checkpoint_folder: Path, tmp_path: Path, name: str
) -> None:
    value = {"model": tmp_path, "template": "cell-type", "top_genes": 5, "organism": ["human"]}
    options = {"folder": tiny_checkpoint_folder, "family": None, name: value[name]}
    error = refused(options.pop("model", None), tmp_path / "out", **options)
    assert f"--{name.replace('_', '-')}" in error.problem
    assert "--family cell2sentence" in error.hint
