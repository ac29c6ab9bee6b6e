import pytest

from c2t.calibration.metrics.accuracy import score_labels


def test_scores_written_out():
    scores = score_labels(["b", "b", "b", "t"], ["b", "b", "t", "t"])
    assert scores.accuracy == 0.75
    assert scores.labels["b"].recall == pytest.approx(2 / 3)
    assert scores.labels["b"].precision == 1.0
    assert scores.labels["t"].precision == 0.5
    assert scores.macro_recall == pytest.approx((2 / 3 + 1) / 2)
    assert scores.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)


def test_an_unread_label_is_wrong_and_invented_labels_cost_recall_only():
    scores = score_labels(["b", "t"], [None, "x"])
    assert scores.accuracy == 0
    assert set(scores.labels) == {"b", "t"}


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 true and 1 predicted"):
        score_labels(["b", "t"], ["b"])
