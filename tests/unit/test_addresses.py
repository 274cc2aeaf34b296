"""Where calls go: to the leader that is told of, else in turn, with a pause where everyone was asked."""

from tensorfleet.errors import NotLeader, Unavailable
from tensorfleet.rpc.addresses import Addresses, split

AWAY = Unavailable("away")


def course(addresses: Addresses, *failures: Unavailable) -> list[str]:
    """Where it goes after each failure; a pause shows as `...` before."""
    steps = []
    for failure in failures:
        pause = addresses.failed(addresses.current, failure)
        steps.append(f"...{addresses.current}" if pause else addresses.current)
    return steps


def standby(leader: str = "") -> NotLeader:
    return NotLeader("standing by", leader=leader)


def test_one_address_is_asked_again_after_a_pause() -> None:
    assert course(Addresses(["a"]), AWAY, AWAY) == ["...a", "...a"]


def test_several_are_asked_in_turn_with_a_pause_after_the_last() -> None:
    assert course(Addresses(["a", "b", "c"]), *[AWAY] * 6) == ["b", "c", "...a", "b", "c", "...a"]


def test_a_leader_that_is_told_of_is_asked_at_once_be_it_listed_or_not() -> None:
    assert course(Addresses(["a", "b", "c"]), standby("c")) == ["c"]
    assert course(Addresses(["a"]), standby("elsewhere")) == ["elsewhere"]


def test_a_dead_leader_is_not_asked_again_for_being_told_of() -> None:
    addresses = Addresses(["a", "b"])
    assert course(addresses, AWAY, standby("a"), AWAY, standby("a")) == ["b", "...a", "b", "...a"]


def test_whoever_tells_of_a_leader_that_is_away_is_asked_again() -> None:
    assert course(Addresses(["a"]), standby("elsewhere"), AWAY, standby("elsewhere")) == [
        "elsewhere",
        "...a",
        "elsewhere",
    ]


def test_two_that_tell_of_one_another_are_not_asked_without_a_pause() -> None:
    assert course(Addresses(["a", "b"]), standby("b"), standby("a"), standby("b")) == ["b", "...a", "b"]


def test_after_an_answer_everyone_may_be_asked_anew() -> None:
    addresses = Addresses(["a", "b"])
    addresses.failed("a", AWAY)
    addresses.served()
    assert course(addresses, standby("a")) == ["a"]


def test_of_many_calls_that_fail_at_one_address_the_first_chooses() -> None:
    addresses = Addresses(["a", "b"])
    assert not addresses.failed("a", AWAY)
    assert not addresses.failed("a", AWAY)
    assert addresses.current == "b"


def test_addresses_are_split_at_commas() -> None:
    assert split("a:1, b:2") == ("a:1", "b:2")
