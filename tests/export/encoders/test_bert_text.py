"""The text tower's graph against its module, and the configs that are refused."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from tiny_joint import WORDS, tiny_joint, tiny_text_config
from tolerance import FLOAT32, worst_difference

from c2t.export.encoders.bert_text import check_config, write_text_graph
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.system.errors import CheckpointError


def test_equals_the_module(tmp_path: Path) -> None:
    tower = tiny_joint().text
    path = tmp_path / "text_encoder.onnx"
    write_text_graph(tower, path)
    onnx.checker.check_model(path, full_check=True)
    ends = check_graph(path)
    assert list(ends.inputs) == ["text_ids"]
    session = onnxruntime.InferenceSession(path)
    for texts, length in ((1, 2), (3, 9), (1, 32)):
        ids = torch.randint(0, len(WORDS), (texts, length))
        with torch.no_grad():
            expected = tower(ids).numpy()
        (vectors,) = session.run(None, {"text_ids": ids.numpy()})
        assert worst_difference(vectors, expected) < FLOAT32


def test_only_the_first_row_of_the_last_layer_is_computed(tmp_path: Path) -> None:
    path = tmp_path / "text_encoder.onnx"
    write_text_graph(tiny_joint().text, path)
    nodes = {n.name for n in onnx.load(path, load_external_data=False).graph.node}
    assert {"layers.0.attention.qkv", "layers.1.attention.kv", "layers.1.rows"} <= nodes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"hidden_act": "silu"}, "activation is 'silu'"),
        ({"position_embedding_type": "relative_key"}, "not a plain BERT"),
        ({"is_decoder": True}, "not a plain BERT"),
        ({"hidden_dropout_prob": 32768}, "hidden_dropout_prob is 32768"),
        ({"attention_probs_dropout_prob": "x"}, "attention_probs_dropout_prob is 'x'"),
    ],
)
def test_refuses_other_towers(changed: dict[str, object], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        check_config(tiny_text_config(**changed))
