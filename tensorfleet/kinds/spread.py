"""How a training by rounds is spread, and how far it has come: in words.

The rule: it says why, with the numbers that decided.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tensorfleet import catalog
from tensorfleet.algorithms import rounds
from tensorfleet.counts import counted, either
from tensorfleet.kinds.courses import NOWHERE, Course, Setting, courses
from tensorfleet.model import JobSpec
from tensorfleet.plan import StageResults


def expected(spec: JobSpec) -> list[str]:
    """How the training will be spread, a line a stage: its rows are not known yet."""
    given: dict[str, Any] = catalog.parameters(spec)
    epochs, replicas, steps = given["epochs"], given["replicas"], given["local_steps"]
    turn = counted(steps, "step") if steps else "an epoch"
    apart = f"{counted(replicas, 'replica')} apart, {turn} a round, averaged after each"
    several = counted(epochs, "epoch")
    ways = {
        "whole": f"whole: {several}, each one task",
        "rounds": f"rounds: {several}; {apart}",
        "gang": f"gang: {several} by {_members(given)} at once, which average every step",
        "auto": f"rounds: {several}; from {rounds.rows_to_share(given):,} training rows on {apart}; "
        "with fewer, an epoch is one task",
    }
    return ["start: the first weights", ways[given["way"]] + _early(given)]


def found(setting: Setting, done: Sequence[StageResults]) -> list[str]:
    """How it is spread, with its rows known, and how far it has come."""
    given, schedule = setting.given, setting.schedule
    epochs, steps = counted(given["epochs"], "epoch"), counted(schedule.epoch_steps, "batch", "batches")
    local = counted(schedule.local_steps, "batch", "batches") if schedule.epoch_rounds > 1 else "an epoch"
    ways = {
        "whole": f"whole: {epochs} of {steps}, each one task",
        "rounds": f"rounds: {epochs} of {steps} for each of {counted(schedule.replicas, 'replica')}, {local} a "
        "round, averaged after each",
        "gang": f"gang: {epochs} by {_members(given)} at once, which average every step",
    }
    lines = ["start: the first weights", ways[setting.way] + _early(given)]
    if given["way"] == "auto":
        shared, rows = rounds.rows_to_share(given), counted(schedule.rows, "training row")
        lines.append(f"  so, since it has {rows}: from {shared:,} on replicas share an epoch")
    if len(done) > setting.base and setting.way != "gang":
        lines += [f"  {line}" for line in _progress(setting, courses(setting, done)[1])]
    return lines


def _members(given: dict[str, Any]) -> str:
    least = given.get("min_members")  # only families that can have gangs have it
    fewer = f", or where there is no room for all, {least} at least," if least else ""
    return f"{counted(given['replicas'], 'member')}{fewer}"


def _early(given: dict[str, Any]) -> str:
    return (
        "" if given["patience"] is None else f"; ends after {counted(given['patience'], 'epoch')} without a lower loss"
    )


def _progress(setting: Setting, course: Course) -> Iterator[str]:
    epochs = course.rounds // setting.schedule.epoch_rounds
    over = either(course.rounds, "is over, and {} with it", "are over, and {} with them")
    yield f"{counted(course.rounds, 'round')} {over.format(counted(epochs, 'epoch'))}"
    if course.best != NOWHERE and epochs:
        kind = "validation" if setting.validates else "training"
        yield f"the lowest {kind} loss is {course.best_loss:.6g}; epochs since it fell: {course.waited}"
    if course.factor != 1.0:
        yield f"the learning rate is {course.factor:g} of what it would be, since the loss stayed on a plateau"
