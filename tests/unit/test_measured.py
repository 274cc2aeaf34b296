"""Points on their way out of a slot."""

import time

import pytest

from tensorfleet.model import Point
from worker import measured
from worker.measured import PointsOut
from worker.messages import Framer, Measured, from_slot


class Wire:
    """What was sent, message by message."""

    def __init__(self) -> None:
        self.sent: list[list[Point]] = []
        self._framer = Framer()

    def send(self, data: bytes) -> None:
        for payload in self._framer.feed(data):
            message = from_slot.decode(payload)
            assert isinstance(message, Measured)
            self.sent.append(list(message.points))

    def points(self) -> list[Point]:
        return [point for message in self.sent for point in message]


def test_a_point_alone_goes_at_once() -> None:
    out = PointsOut((wire := Wire()).send)
    out.add("loss", 1, 0.5)
    assert wire.sent == [[Point("loss", 1, 0.5)]]


def test_many_go_together_in_their_order() -> None:
    out = PointsOut((wire := Wire()).send)
    given = [Point("ab"[step % 2], step, float(step)) for step in range(20_000)]
    for point in given:
        out.add(point.series, point.step, point.value)
    with out.lock:
        out.say()
    assert wire.points() == given
    assert len(wire.sent) < 2_000


def test_what_is_kept_back_goes_without_another_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "APART", 0.05)
    out = PointsOut((wire := Wire()).send)
    for step in range(3):
        out.add("loss", step, 0.5)
    assert len(wire.points()) < 3
    while len(wire.points()) < 3:
        time.sleep(0.01)
    assert [point.step for point in wire.points()] == [0, 1, 2]


def test_no_more_than_so_many_are_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "APART", 1000.0)
    monkeypatch.setattr(measured, "MOST", 10)
    out = PointsOut((wire := Wire()).send)
    for step in range(31):
        out.add("loss", step, 0.5)
    assert [len(message) for message in wire.sent[1:]] == [10, 10, 10]


def test_an_agent_that_is_gone_is_told_to_whoever_reports() -> None:
    def gone(data: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        PointsOut(gone).add("loss", 1, 0.5)
