import pytest

from c2t.calibration.metrics.bootstrap import Bootstrap, BootstrapOptions
from c2t.calibration.metrics.text_metrics import check_bert_model, read_references, score_texts
from c2t.runtime.system.errors import EvaluationError

sacrebleu = pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

TEXTS = ["this sample consists of a B cell , a lymphocyte", "it comes from the blood of a donor"]
BOOTSTRAP = Bootstrap(3, BootstrapOptions(resamples=200))


def test_a_text_scores_one_against_itself():
    found = score_texts([*TEXTS, "x"], [*TEXTS, None], BOOTSTRAP)
    assert set(found) == {f"BLEU-{n}" for n in (1, 2, 3, 4)} | {"ROUGE-1", "ROUGE-2", "ROUGE-L"}
    for interval in found.values():
        assert interval.value == interval.low == interval.high == pytest.approx(1)


def test_bleu_is_sacrebleus():
    said = ["this sample consists of a T cell , a cell", "it came from the blood of somebody"]
    found = score_texts([*said, None], [*TEXTS, TEXTS[0]], BOOTSTRAP)
    for order in (1, 2, 3, 4):
        whole = sacrebleu.BLEU(max_ngram_order=order).corpus_score(
            [*said, ""], [[*TEXTS, TEXTS[0]]]
        )
        assert found[f"BLEU-{order}"].value == pytest.approx(whole.score / 100)
        assert found[f"BLEU-{order}"].low <= found[f"BLEU-{order}"].value


def test_rouge_by_hand():
    found = score_texts(["a b c d"], ["a b x"], Bootstrap(1, BootstrapOptions(resamples=2)))
    assert found["ROUGE-1"].value == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert found["ROUGE-2"].value == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


def test_references_from_jsonl_and_csv(tmp_path):
    lines = tmp_path / "captions.jsonl"
    lines.write_text('{"cell": "a", "text": "A.", "genes_used": 3}\n{"cell": "b", "text": null}\n')
    assert read_references(lines) == {"a": "A."}
    table = tmp_path / "captions.csv"
    table.write_text('cell,text\na,"A, too."\n')
    assert read_references(table) == {"a": "A, too."}


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.jsonl", "no JSON"), ("x.jsonl", ""), ("x.csv", "name,caption\na,b\n"), ("y.jsonl", None)],
)
def test_what_holds_no_references_is_refused(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(EvaluationError, match="holds no reference captions"):
        read_references(tmp_path / name)


def test_bertscore_needs_a_folder_that_is_here(tmp_path):
    check_bert_model(None)
    with pytest.raises(EvaluationError) as caught:
        check_bert_model(tmp_path / "roberta-large")
    assert "no config.json" in caught.value.problem


@pytest.mark.slow  # for what bert-score imports
def test_bertscore_by_a_model_of_ones_own(tmp_path, monkeypatch):
    pytest.importorskip("bert_score")
    torch = pytest.importorskip("torch")
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(" ".join(TEXTS).split()))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), num_hidden_layers=2, **sizes)).save_pretrained(
        tmp_path
    )
    BertTokenizerFast(str(tmp_path / "vocab.txt"), do_lower_case=False).save_pretrained(tmp_path)
    check_bert_model(tmp_path)
    other = [TEXTS[0], "this sample comes from a cell of a donor"]
    found = score_texts([*other, None], [*TEXTS, None], BOOTSTRAP, bert_model=tmp_path)
    assert 0 < found["BERTScore"].value < 1
    alike = score_texts([*TEXTS, None], [*TEXTS, None], BOOTSTRAP, bert_model=tmp_path)
    assert alike["BERTScore"].value == pytest.approx(1, abs=1e-5)
