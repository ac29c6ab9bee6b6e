import numpy as np
import pytest

from c2t.calibration.cell_selection import select_cells
from c2t.runtime.system.errors import CalibrationError


def test_rare_labels_are_covered():
    labels = ["common"] * 95 + ["rare"] * 5
    found = select_cells(100, calibration=20, gate=10, seed=0, labels=labels)
    chosen = [labels[i] for i in found.calibration]
    assert chosen.count("rare") >= 3  # all that the gate did not take
    assert len(found.calibration) == 20
    assert len(found.gate) == 10
    assert not set(found.calibration) & set(found.gate)
    assert found.reduced is None
    assert found.method == "2 labels in turn"


def test_the_seed_decides():
    first, again, other = (
        select_cells(100, calibration=20, gate=10, seed=seed, labels=["x"] * 100)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.calibration != other.calibration


def test_cells_are_spread_over_their_vectors():
    vectors = np.zeros((400, 2), np.float32)
    vectors[::100] = [[9, 0], [-9, 0], [0, 9], [0, -9]]
    found = select_cells(
        400, calibration=100, gate=4, seed=3, embed=lambda positions: vectors[positions]
    )
    far = {0, 100, 200, 300} - set(found.gate)
    assert far <= set(found.calibration)
    assert len(set(found.calibration)) == 100
    assert found.method == "spread over 396 random cells, as the model sees them"


def test_too_few_cells_are_shared_out_and_said_so():
    found = select_cells(30, calibration=256, gate=256, seed=0)
    assert (len(found.calibration), len(found.gate)) == (15, 15)
    assert found.reduced == "512 cells wanted, the file has 30: 15 calibrate, 15 are held out"


def test_a_handful_of_cells_is_refused():
    with pytest.raises(CalibrationError, match="7 cells are too few"):
        select_cells(7, calibration=256, gate=256, seed=0)
