"""Points as columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import Point, Points
from tensorfleet.wire import points_from_proto, points_to_proto

POINTS = st.lists(st.builds(Point, st.sampled_from("abc"), st.integers(0, 9), st.floats(allow_nan=False)))


@given(POINTS)
def test_columns_tell_each_point_in_its_order(points: list[Point]) -> None:
    columns = Points.of(points)
    assert list(columns) == points
    assert len(columns) == len(points)
    assert points_from_proto(points_to_proto(columns)) == columns


@given(st.lists(POINTS))
def test_parts_are_joined_in_their_order(parts: list[list[Point]]) -> None:
    assert list(Points.joined([Points.of(part) for part in parts])) == [point for part in parts for point in part]


@given(POINTS, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9)))
def test_what_is_past_what_was_told(points: list[Point], told: dict[str, int]) -> None:
    assert list(Points.of(points).beyond(told)) == [
        point for point in points if point.series not in told or point.step > told[point.series]
    ]


@given(POINTS)
def test_the_last_step_of_each_series(points: list[Point]) -> None:
    assert Points.of(points).last_steps() == {
        point.series: max(other.step for other in points if other.series == point.series) for point in points
    }


@pytest.mark.parametrize(
    "columns",
    [
        Points(("a",), (), (1, 2), (0.5,)),
        Points(("a", "b"), (0,), (1, 2), (0.5, 0.5)),
        Points(("a", "b"), (0, 2), (1, 2), (0.5, 0.5)),
        Points((), (), (1,), (0.5,)),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(columns: Points) -> None:
    with pytest.raises(InvalidRequest, match="points"):
        points_from_proto(points_to_proto(columns))


def test_names_without_points_are_no_points() -> None:
    empty = Points(("a",))
    assert list(empty) == []
    assert empty.last_steps() == {}
    assert empty.beyond({"a": 3}) == empty
