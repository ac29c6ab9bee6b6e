"""`c2t export` and what can be done with the bundle that it wrote."""

from pathlib import Path

import pytest
from cli_process import Command, run_c2t
from tiny_models import tiny_genes, tiny_model, tiny_settings, tiny_tokenizer

from c2t.export.checkpoint.folder import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "saved"
    save_checkpoint(
        folder,
        model=tiny_model(),
        genes=tiny_genes(),
        tokenizer=tiny_tokenizer(),
        settings=tiny_settings(),
    )
    return folder


def test_export_verify_describe(
    call_c2t: Command, checkpoint: Path, cells: Path, tmp_path: Path
) -> None:
    done = run_c2t("export", checkpoint, "-o", "bundle", "--cells", cells, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "checking the graphs against PyTorch" in done.stderr
    assert "c2t describe bundle CELLS.h5ad" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    done = run_c2t("verify", "bundle", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 golden cells have the expected text" in done.stdout
    done = call_c2t("describe", "bundle", cells, "--limit", 2, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 2

    done = call_c2t("export", checkpoint, "-o", "bundle", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: bundle exists already and is not empty\nhint: pass --force" in done.stderr
    options = ("--system-message-file", "system.txt", "--max-new-tokens", 5, "--name", "again")
    (tmp_path / "system.txt").write_text("Be brief.\n")
    done = call_c2t("export", checkpoint, "-o", "bundle", "--force", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = call_c2t("info", "bundle", cwd=tmp_path).stdout
    for part in ("again", "Be brief.", "at most 5"):
        assert part in shown


def test_options_that_the_folder_answers_are_named(
    call_c2t: Command, checkpoint: Path, tmp_path: Path
) -> None:
    options = ("--perceiver-heads", 4, "--emb-layer", 0)
    done = call_c2t("export", checkpoint, "-o", tmp_path / "bundle", *options)
    assert done.returncode == 1
    assert "also given: --emb-layer, --perceiver-heads" in done.stderr


def test_what_is_no_checkpoint(call_c2t: Command, tmp_path: Path) -> None:
    done = call_c2t("export", tmp_path, "-o", tmp_path / "bundle")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("error: ")
    assert done.stderr.splitlines()[-1].startswith("hint: ")
    done = call_c2t("export", tmp_path, "-o", "b", "--system-message-file", tmp_path / "none")
    assert done.returncode == 1
    assert "error: cannot read" in done.stderr
