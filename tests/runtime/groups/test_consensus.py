"""Answers of groups: shares, ties, spellings, ids, errors."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.groups.consensus import CellAnswer, Group, make_groups
from c2t.runtime.groups.labels import GroupLabels, label_codes


def say(name: str | None, term: str | None = None, **more: object) -> CellAnswer:
    return CellAnswer(described=True, cell_type=name, ontology_id=term, **more)


def group_of(answers: list[CellAnswer], min_share: float = 0.5) -> Group:
    labels = GroupLabels(["all"], np.zeros(len(answers), np.int32))
    (group,) = make_groups(labels, answers, min_share=min_share)
    return group


def test_the_most_frequent_answer_with_its_share_and_the_runner_up() -> None:
    group = group_of([say("B cell")] * 6 + [say("T cell")] * 3 + [say(None)])
    assert (group.state, group.cell_type, group.share) == ("consensus", "B cell", 0.6)
    assert (group.runner_up.cell_type, group.runner_up.share) == ("T cell", 0.3)
    assert [(share.cell_type, share.cells) for share in group.shares] == [
        *(("B cell", 6), ("T cell", 3), ("", 1))
    ]
    assert group.unsure is None
    assert group.ontology_id is None


@pytest.mark.parametrize(
    ("cells", "min_share", "state"),
    [
        ((5, 5), 0.0, "mixed"),  # a tie has no answer, whatever is asked for
        ((5, 4, 1), 0.5, "consensus"),  # exactly the least share
        ((5, 4, 2), 0.5, "mixed"),
        ((1, 2, 0), 2 / 3, "consensus"),  # 0.66667 is not below two thirds
        ((9,), 1.0, "consensus"),
        ((9, 1), 1.0, "mixed"),
    ],
)
def test_below_the_least_share_a_group_is_mixed(
    cells: tuple[int, ...], min_share: float, state: str
) -> None:
    names = ("B cell", "T cell", "NK cell")
    answers = [say(name) for name, count in zip(names, cells, strict=False) for _ in range(count)]
    group = group_of(answers, min_share)
    assert group.state == state
    assert group.cell_type == ("mixed" if state == "mixed" else group.shares[0].cell_type)
    assert group.share == pytest.approx(max(cells) / sum(cells), abs=1e-5)


def test_a_share_exactly_at_the_limit_is_a_consensus_whatever_the_numbers() -> None:
    for described in (25, 50, 100):
        for cells in range(described // 2 + 1, described + 1):
            answers = [say("B cell")] * cells + [say("T cell")] * (described - cells)
            limit = float(f"{cells / described:.2f}")
            assert group_of(answers, limit).state == "consensus", (cells, described)
            assert group_of(answers, np.nextafter(limit, 2)).state == "mixed"


def test_one_id_is_one_answer_by_its_most_frequent_name() -> None:
    group = group_of(
        [say("NK cell", "CL:0000623")] * 2
        + [say("natural killer cell", "CL:0000623")] * 3
        + [say("B cell", "CL:0000236")] * 4
    )
    found = (group.cell_type, group.ontology_id, group.shares[0].cells)
    assert found == ("natural killer cell", "CL:0000623", 5)
    assert group.runner_up.ontology_id == "CL:0000236"


def test_names_without_an_id_are_compared_without_case_and_hyphens() -> None:
    names = ("CD4-positive T cell", "cd4 positive T cells")
    group = group_of([say(name, "unknown") for name in names])
    assert group.share == 1
    assert group.ontology_id == "unknown"


def test_names_of_unknown_id_are_not_one_answer() -> None:
    group = group_of([say("cell a", "unknown")] * 2 + [say("cell b", "unknown")])
    assert [share.cells for share in group.shares] == [2, 1]


def test_a_mixed_group_has_an_unknown_id() -> None:
    group = group_of([say("a", "CL:1"), say("b", "CL:2")])
    assert (group.cell_type, group.ontology_id) == ("mixed", "unknown")


def test_no_name_at_all_is_no_consensus() -> None:
    group = group_of([say(None)] * 3 + [say("B cell")])
    assert (group.state, group.cell_type, group.share) == ("unnamed", "", 0.75)
    assert group_of([say(None), say("B cell")]).state == "mixed"


def test_errors_have_no_vote_and_are_counted() -> None:
    group = group_of([CellAnswer(described=False)] * 3 + [say("B cell")])
    assert (group.cells, group.described, group.errors) == (4, 1, 3)
    assert (group.cell_type, group.share) == ("B cell", 1)


def test_a_group_of_errors_is_undescribed() -> None:
    group = group_of([CellAnswer(described=False)] * 2)
    assert (group.state, group.cell_type, group.share) == ("undescribed", "", None)
    assert group.median_confidence is None
    assert group.runner_up is None


def test_unsure_cells_are_counted_and_vote() -> None:
    group = group_of([say("B cell", unsure=u) for u in (True, False)] + [say("T", unsure=True)])
    assert group.unsure == 2
    assert group.share == pytest.approx(2 / 3, abs=1e-5)


def test_a_threshold_that_no_cell_misses_is_a_zero() -> None:
    assert group_of([say("B cell", unsure=False)]).unsure == 0


def test_the_median_is_of_cells_that_name_a_type() -> None:
    answers = [say("B cell", confidence=value) for value in (0.1, 0.9, 0.5, 0.7)]
    answers += [say(None, confidence=0.0), CellAnswer(described=False)]
    assert group_of(answers).median_confidence == pytest.approx(0.6)


def test_many_groups_equal_a_plain_count() -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(-1, 7, 500).astype(np.int32)
    names = generator.choice(["a", "b", "c"], 500)
    confidences = generator.random(500)
    answers = [say(str(n), confidence=float(c)) for n, c in zip(names, confidences, strict=True)]
    groups = make_groups(GroupLabels([f"g{i}" for i in range(7)], codes), answers, min_share=0)
    for number, group in enumerate(groups):
        mine = codes == number
        values, counts = np.unique(names[mine], return_counts=True)
        assert group.cells == mine.sum()
        assert {share.cell_type: share.cells for share in group.shares} == dict(
            zip(values.tolist(), counts.tolist(), strict=True)
        )
        assert group.median_confidence == pytest.approx(np.median(confidences[mine]), abs=1e-5)


def test_labels_are_ordered_as_numbers_where_they_are_numbers() -> None:
    labels = label_codes(["10", "2", "", "b", "2", "a", "1"])
    assert list(labels.names) == ["1", "2", "10", "a", "b"]
    assert labels.codes.tolist() == [2, 1, -1, 4, 1, 3, 0]
    assert labels.codes.dtype == np.int32
