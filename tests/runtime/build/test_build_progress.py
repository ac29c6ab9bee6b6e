"""A bar over nested phases never runs back, and never past its end."""

from __future__ import annotations

from c2t.runtime.build.build_progress import WHOLE, Phases


def test_inner_steps_are_parts_of_the_outer_one():
    shown = []
    phases = Phases(shown.append)
    phases.start("build", None, 4)
    phases.start("optimise", "build", 2)
    phases.step("optimise")
    assert sum(shown) == WHOLE // 8  # half of the first of four
    phases.step("optimise")
    phases.finish("optimise")
    phases.step("build")
    assert sum(shown) == WHOLE // 4
    phases.step("build")
    assert sum(shown) == WHOLE // 2


def test_phases_that_come_twice_or_overrun_do_no_harm():
    shown = []
    phases = Phases(shown.append)
    phases.start("build", None, 2)
    for _ in range(3):  # the same phase again: the bar waits until it is past
        phases.start("reformat", "build", 1)
        phases.step("reformat")
        phases.step("reformat")
        phases.finish("reformat")
    phases.step("never begun")
    for _ in range(5):
        phases.step("build")
    assert all(units > 0 for units in shown)
    assert sum(shown) == WHOLE
