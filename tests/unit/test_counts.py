"""Counts in sentences: what is one is told as one."""

import pytest

from tensorfleet.counts import counted, either


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (65_536, "65,536 tasks"), (-1, "-1 tasks")]
)
def test_a_noun_agrees_with_its_count(count: int, told: str) -> None:
    assert counted(count, "task") == told


def test_a_plural_and_a_verb_are_those_given() -> None:
    assert [counted(count, "batch", "batches") for count in (1, 2)] == ["1 batch", "2 batches"]
    assert [either(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]
