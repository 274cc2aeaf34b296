"""What a worker says: starts, reports and ends, in which order, together with what, and again after a lost stream."""

from tensorfleet.model import Cause, LogLine, Point, Points
from tests.unit.worker_slots import LINE, POINT, Machine, ends, order
from worker.messages import Failed, Measured, Members, Ready, Succeeded
from worker.state import State


def test_a_start_is_told_unless_the_end_tells_it_too() -> None:
    it = Machine(2)
    it.assign(1, 2)
    it.finish(1)
    batch = it.collect()
    assert batch.started == [(2, 1001)]
    assert batch.succeeded == [1]
    assert not it.collect().started


def test_starts_wait_where_they_may() -> None:
    it = Machine()
    it.assign(1)
    assert not it.state.collect(starts=False)
    assert it.state.collect(starts=True).started == [(1, 1000)]


def test_a_start_is_told_once_its_process_is_known() -> None:
    state = State(1)
    state.welcome((), 0.0)
    state.slot_came(0, 0, 0.0)
    state.assign([order(1)], 0.0)
    assert list(state.collect().started) == []
    state.slot_has(0, 77)
    assert list(state.collect().started) == [(1, 77)]
    assert state.running() == [(77, 1)]


def test_a_start_is_told_anew_where_another_slot_has_the_order() -> None:
    it = Machine(2, eager=False)
    it.assign(1)
    assert it.collect().started == [(1, 1000)]
    it.do(it.state.lanes.take_back([it.state.lanes.by_slot[0]]))
    assert it.collect().started == [(1, 1000)], "whoever has it now"


def test_a_bare_success_is_told_by_its_seconds_alone() -> None:
    it = Machine()
    it.assign(1, 2, 3)
    it.finish(1)
    it.finish(2, Succeeded(0.25, None, (), {"rows": 1}))
    it.report(3, [POINT])
    it.finish(3)
    batch = it.collect()
    assert (batch.succeeded, batch.seconds) == ([1], [0.5])
    assert [(ended.token, ended.started, ended.last_report) for ended in batch.ended] == [(2, True, 0), (3, True, 1)]


def test_a_batch_tells_reports_then_the_end() -> None:
    it = Machine()
    it.assign(1)
    it.report(1, [POINT])
    it.report(1, [POINT], [LINE])
    it.finish(1)
    batch = it.collect()
    (report,) = batch.reports
    assert (report.number, report.points, report.lines) == (1, Points.of([POINT, POINT]), (LINE,))
    (ended,) = batch.ended
    assert (ended.last_report, ended.started) == (1, True)
    assert not it.collect()


def test_reports_belong_to_what_was_first_in_the_pipe_when_they_were_made() -> None:
    it = Machine()
    it.assign(1, 2)
    said = [
        Measured(Points.of([Point("a", 0, 0.0)])),
        Succeeded(0.5),
        Measured(Points.of([Point("b", 0, 0.0)])),
        Failed(Cause.SIGNAL, "", ""),
    ]
    it.do(it.state.slot_said(0, said, it.now))
    assert [(report.token, report.points.names[0]) for report in it.collect().reports] == [(1, "a"), (2, "b")]


def test_nothing_is_said_while_not_connected_and_nothing_is_lost() -> None:
    it = Machine(connected=False)
    it.assign(1)
    it.report(1, [POINT])
    assert not it.collect()
    it.do(it.state.welcome([], it.now))
    assert it.collect().reports[0].number == 1


def test_an_end_waits_for_its_reports_where_a_batch_has_no_room() -> None:
    it = Machine()
    it.assign(1)
    for step in range(8):
        it.report(1, [], [LogLine(0.0, "stdout", "x" * 200_000)] * 2)
        it.report(1, [Point("loss", step, 0.0)])
    it.finish(1)
    batches = []
    while batch := it.collect():
        batches.append(batch)
    assert len(batches) > 1
    assert all(not batch.ended for batch in batches[:-1])
    numbers = [report.number for batch in batches for report in batch.reports]
    assert numbers == list(range(1, batches[-1].ended[0].last_report + 1))


def test_what_is_unacknowledged_is_said_again_in_order_after_a_reconnect() -> None:
    it = Machine(2)
    it.assign(1, 2)
    for step in range(3):
        it.report(1, [Point("loss", step, 0.0)])
        it.collect()
    it.finish(2)
    it.collect()
    it.ack(t1=1)
    it.do(it.state.stream_lost())
    holdings = it.state.holdings()
    assert holdings.held == ((1, True),)
    assert [ended.token for ended in holdings.ended] == [2]
    it.do(it.state.welcome([], it.now))
    batch = it.collect()
    assert batch.started == [(1, 1000)]
    assert [report.number for report in batch.reports] == [2, 3]
    assert ends(batch) == [2]
    it.ack(2, t1=3)
    it.do(it.state.stream_lost())
    assert it.state.holdings().ended == ()
    it.do(it.state.welcome([], it.now))
    assert not it.collect().reports


def test_an_end_whose_reports_are_unacknowledged_is_told_as_held() -> None:
    it = Machine()
    it.assign(1)
    it.report(1, [POINT])
    it.finish(1)
    assert it.state.holdings().held == ((1, True),)
    it.collect()
    assert it.state.holdings().held == ((1, True),)
    it.ack(t1=1)
    assert [ended.token for ended in it.state.holdings().ended] == [1]


def test_what_waits_in_a_pipe_is_held_and_has_not_begun() -> None:
    it = Machine()
    it.assign(1, 2, 3)
    assert it.state.holdings().held == ((1, True), (2, False), (3, False))


def test_an_end_is_not_forgotten_by_an_ack_of_what_still_runs() -> None:
    it = Machine()
    it.assign(1)
    it.ack(1)
    assert 1 in it.state.attempts


def test_a_full_buffer_holds_the_slot_until_enough_is_acknowledged() -> None:
    it = Machine(max_unacked=1000)
    it.assign(1)
    while not it.held:
        it.report(1, [POINT] * 10)
    it.report(1, [POINT])  # what was on its way is kept all the same
    (report,) = it.collect().reports
    it.ack(t1=0)
    assert it.held == {0}
    it.ack(t1=report.number)
    assert it.held == set()


def test_ends_wait_for_company_while_those_before_them_are_not_heard() -> None:
    it = Machine(2)
    it.assign(*range(1, 6))
    it.finish(1)
    assert it.state.pressing, "nothing was said before it"
    assert it.collect().succeeded == [1]
    it.finish(2)
    it.finish(3)
    assert not it.state.pressing
    it.ack(1)
    assert it.state.pressing
    assert it.collect().succeeded == [2, 3]


def test_ends_do_not_wait_where_no_slot_has_anything_to_do() -> None:
    it = Machine(2)
    it.assign(1, 2, 3)
    it.finish(1)
    it.collect()
    it.finish(2)
    assert not it.state.pressing
    it.finish(3)
    assert it.state.pressing
    assert it.collect().succeeded == [2, 3]


def test_what_was_not_heard_in_a_session_that_is_over_holds_up_nothing() -> None:
    it = Machine()
    it.assign(1)
    it.finish(1)
    it.collect()
    it.reconnect()
    assert ends(it.collect()) == [1]
    it.ack(1)
    it.assign(2, 3)
    it.finish(2)
    assert it.state.pressing


def test_a_member_of_a_gang_is_ready_until_it_has_the_roster() -> None:
    it = Machine()
    it.assign(1)
    it.say(1, Ready("10.0.0.1:99"))
    assert it.collect().ready == [(1, "10.0.0.1:99")]
    it.reconnect()
    assert it.collect().ready == [(1, "10.0.0.1:99")]
    it.do(it.state.roster(1, Members(0, ("10.0.0.1:99",))))
    assert it.rosters == {1: Members(0, ("10.0.0.1:99",))}
    it.reconnect()
    assert not it.collect().ready
    it.do(it.state.roster(1, Members(0, ())) + it.state.roster(9, Members(0, ())))
    assert it.rosters[1].addresses


def test_leaving_is_said_again_to_the_next_session() -> None:
    it = Machine()
    it.assign(1)
    it.do(it.state.drain("maintenance"))
    assert it.collect().leaving
    assert not it.collect().leaving
    it.reconnect()
    assert it.collect().leaving
