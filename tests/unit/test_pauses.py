"""Pauses double up to a limit, and no two that wait for the same need wait the same time."""

from itertools import islice

import pytest

from tensorfleet.rpc.pauses import FIRST_PAUSE, pauses


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorfleet.rpc.pauses.random.uniform", lambda _low, high: high)
    assert list(islice(pauses(0.5), 6)) == [FIRST_PAUSE, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_up_to_half_of_a_pause_is_left_off() -> None:
    firsts = [next(pauses(1.0, first=1.0)) for _ in range(200)]
    assert all(0.5 <= first <= 1.0 for first in firsts)
    assert len(set(firsts)) > 1
