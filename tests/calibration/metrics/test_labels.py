import pytest

from c2t.calibration.metrics.labels import same_label
from c2t.runtime.labels.normalise import normalise_label


@pytest.mark.parametrize(
    ("label", "expected"),
    [("B cells", "b"), ("T  Cell", "t"), ("astrocyte", "astrocyte"), ("NK", "nk"), ("cell", "")],
)
def test_normalise_label(label, expected):
    assert normalise_label(label) == expected


def test_labels_are_the_same_after_normalisation():
    assert same_label("B cell", "b  Cells")
    assert not same_label("B cell", "T cell")
    assert not same_label(None, None)
