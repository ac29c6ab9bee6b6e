"""A CellWhisperer checkpoint on disk becomes a bundle whose numbers are PyTorch's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_joint import (
    SPACE,
    TEXT,
    WORDS,
    JointFolders,
    state_dict,
    tiny_joint,
    write_joint_folders,
    write_lightning,
)
from tiny_models import TinySizes, tiny_cell
from tolerance import FLOAT32, worst_difference

from c2t.export.cellwhisperer.outline import outline_joint
from c2t.export.checkpoint.check import check_weights
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.joint.text_tower import TextTowerEngine
from c2t.runtime.system.errors import CheckpointError

QUERY = "activated T cells from a tumour"


def options(folders: JointFolders, **other: object) -> CheckpointOptions:
    return CheckpointOptions(
        family="cellwhisperer",
        geneformer=folders.geneformer,
        text_model=folders.text_model,
        checkpoint=folders.checkpoint,
        **other,
    )


def encoder_of(bundle: Bundle) -> OnnxRuntimeEncoder:
    return OnnxRuntimeEncoder(
        bundle.file("encoder.onnx"),
        bundle.file("projector.onnx"),
        bundle.gene_embedding_tables,
        EngineOptions(),
    )


@pytest.mark.parametrize(("version", "pooling"), [(1, None), (2, None), (2, "cls")])
def test_bundle_gives_the_numbers_of_pytorch(
    tmp_path: Path, version: int, pooling: str | None
) -> None:
    model = tiny_joint(version=version, pooling=pooling or "mean")
    folders = write_joint_folders(tmp_path / "in", model, version=version)
    said: list[str] = []
    bundle = export_bundle(
        ExportOptions(output=tmp_path / "bundle", checkpoint=options(folders, pooling=pooling)),
        report=said.append,
    )
    manifest = bundle.manifest
    assert manifest.family == "cellwhisperer"
    assert manifest.tasks == ("embed", "search", "annotate")
    assert manifest.space.size == SPACE
    assert manifest.space.temperature == pytest.approx(1.5)
    assert (manifest.text_tower.input_size, manifest.projector.vectors) == (32, 1)
    assert any("not opened" in sentence for sentence in said)
    assert ("a cell is the mean" in " ".join(said)) == (pooling is None)
    tokens = tiny_cell(15, TinySizes(version=version))[None]
    vectors = encoder_of(bundle).encode(tokens.numpy().astype(np.int32))
    assert worst_difference(vectors[:, 0], model.embed_cells(tokens).numpy()) < FLOAT32
    words = ["act", "##ivated", "T", "cell", "##s", "from", "a", "tum", "##our"]
    ids = [WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]
    texts = TextTowerEngine(bundle).encode([QUERY])
    assert texts.tokens == (len(ids),)
    expected = model.embed_texts(torch.tensor([ids])).numpy()
    assert worst_difference(texts.vectors, expected) < FLOAT32


def test_reads_the_same_from_safetensors_and_plain_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = tiny_joint()
    folders = write_joint_folders(tmp_path / "in", model)
    state = {name: tensor.contiguous().clone() for name, tensor in state_dict(model).items()}
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "model.pt")
    tokens = tiny_cell(10, TinySizes(version=1))[None]
    for name in ("model.safetensors", "model.pt"):
        other = JointFolders(folders.geneformer, folders.text_model, tmp_path / name)
        loaded = outline_joint(options(other)).load()
        # Where a weight lies in memory changes the order of PyTorch's sums.
        torch.testing.assert_close(loaded.model.embed_cells(tokens), model.embed_cells(tokens))


def changed(folders: JointFolders, state: dict[str, torch.Tensor]) -> JointFolders:
    path = folders.checkpoint.with_name("changed.ckpt")
    write_lightning(path, state)
    return JointFolders(folders.geneformer, folders.text_model, path)


def test_names_what_it_does_not_know_and_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    model = tiny_joint()
    folders = write_joint_folders(tmp_path, model)
    more = {**state_dict(model), "model.text_projection.weight": torch.ones(3, 3)}
    other = changed(folders, more)
    with pytest.raises(CheckpointError, match=r"1 tensors are no part.*text_projection") as caught:
        outline_joint(options(other)).load()
    assert "--leave-out" in caught.value.hint
    loaded = outline_joint(options(other, leave_out=["model.text_projection."])).load()
    assert "left out: `model.text_projection.`" in loaded.layout


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s.pop("model.discriminator.temperature"), "no model.discriminator.temperature"),
        (
            lambda s: s.update({"model.discriminator.temperature": torch.tensor(1e9)}),
            "temperature is 1000000000",
        ),
        (
            lambda s: s.pop("model.discriminator.img_block.feature_nonlinear.1.running_var"),
            "img_block is put together otherwise",
        ),
        (
            lambda s: s.update(
                {"model.discriminator.text_block.feature_nonlinear.0.bias": torch.ones(SPACE)}
            ),
            "text_block is put together otherwise",
        ),
        (lambda s: s.pop(f"{TEXT}pooler.dense.weight"), "does not fit the text tower"),
        (
            lambda s: s.update({f"{TEXT}embeddings.word_embeddings.weight": torch.ones(5, 7)}),
            "no table of the checkpoint is the text tower's",
        ),
        (
            lambda s: [s.pop(name) for name in list(s) if "text_block" in name],
            "has no text_block",
        ),
    ],
)
def test_refuses_other_checkpoints(tmp_path: Path, edit, words: str) -> None:
    model = tiny_joint()
    folders = write_joint_folders(tmp_path, model)
    state = state_dict(model)
    edit(state)
    with pytest.raises(CheckpointError, match=words):
        outline_joint(options(changed(folders, state))).load()


@pytest.mark.parametrize("leaf", ["running_mean", "running_var", "weight"])
def test_refuses_numbers_that_are_not_finite(tmp_path: Path, leaf: str) -> None:
    model = tiny_joint()
    folders = write_joint_folders(tmp_path, model)
    state = state_dict(model)
    name = f"model.discriminator.img_block.feature_nonlinear.1.{leaf}"
    state[name] = torch.full_like(state[name], torch.nan)
    loaded = outline_joint(options(changed(folders, state))).load()
    with pytest.raises(CheckpointError, match=rf"infinite values: .*nonlinear\.1\.{leaf}\n"):
        check_weights(loaded.model)


def test_refuses_before_the_weights_are_read(tmp_path: Path) -> None:
    model = tiny_joint()
    folders = write_joint_folders(tmp_path, model)
    folders.checkpoint.write_bytes(b"never read")
    for wrong, words in (
        ({"pooling": "max"}, "--pooling is 'max'"),
        ({"pooling": "cls"}, "no <cls> token"),
        ({"llama": tmp_path, "top_k": 3}, "given: --llama, --top-k"),
        ({"emb_layer": 5}, "emb_layer is 5"),
        ({"text_lower_case": True}, "do_lower_case is false"),
    ):
        with pytest.raises(CheckpointError, match=words):
            outline_joint(options(folders, **wrong))
    with pytest.raises(CheckpointError, match="also needs --geneformer, --text-model"):
        outline_joint(CheckpointOptions(family="cellwhisperer", checkpoint=folders.checkpoint))
    config = json.loads((folders.text_model / "config.json").read_text())
    for changes, words in (
        ({"vocab_size": 500}, "has 31 tokens, the text tower 500 rows"),
        ({"model_type": "roberta"}, "model_type is 'roberta'"),
    ):
        (folders.text_model / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(CheckpointError, match=words):
            outline_joint(options(folders))


def test_asks_whether_letters_are_lower_cased(tmp_path: Path) -> None:
    folders = write_joint_folders(tmp_path, tiny_joint())
    (folders.text_model / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="does not say whether its tokenizer lower-cases"):
        outline_joint(options(folders))
    pieces = outline_joint(options(folders, text_lower_case=False)).tokenizer.pieces
    assert pieces.encode("B") == [WORDS.index("B")]
    pieces = outline_joint(options(folders, text_lower_case=True)).tokenizer.pieces
    assert pieces.encode("B") == [WORDS.index("[UNK]")]


def test_leaves_nothing_behind_where_a_graph_differs(tmp_path: Path, monkeypatch) -> None:
    from c2t.export.graphs import joint_block
    from c2t.runtime.system.errors import ParityError

    folders = write_joint_folders(tmp_path / "in", tiny_joint())
    fold = joint_block.fold_batch_norm
    monkeypatch.setattr(
        joint_block, "fold_batch_norm", lambda linear, norm: (fold(linear, norm)[0], norm.bias)
    )
    with pytest.raises(ParityError, match="text text_vectors"):
        export_bundle(ExportOptions(output=tmp_path / "bundle", checkpoint=options(folders)))
    assert not (tmp_path / "bundle").exists()
