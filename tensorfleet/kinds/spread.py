"""How a training by rounds is spread, and how far it has come: in words.

The rule: it says why, with the numbers that decided.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tensorfleet import catalog
from tensorfleet.algorithms import rounds
from tensorfleet.kinds.courses import NOWHERE, Course, Setting, courses
from tensorfleet.model import JobSpec
from tensorfleet.plan import StageResults


def expected(spec: JobSpec) -> list[str]:
    """How the training will be spread, a line a stage: its rows are not known yet."""
    given: dict[str, Any] = catalog.parameters(spec)
    epochs, replicas, steps = given["epochs"], given["replicas"], given["local_steps"]
    apart = f"{replicas} replicas apart, {f'{steps:,} steps' if steps else 'an epoch'} a round, averaged after each"
    ways = {
        "whole": f"whole: {epochs} epochs, each one task",
        "rounds": f"rounds: {epochs} epochs; {apart}",
        "gang": f"gang: {epochs} epochs by {replicas} members at once, which average every step",
        "auto": f"rounds: {epochs} epochs; from {rounds.rows_to_share(given):,} training rows on {apart}; "
        "with fewer, an epoch is one task",
    }
    return ["start: the first weights", ways[given["way"]] + _early(given)]


def found(setting: Setting, done: Sequence[StageResults]) -> list[str]:
    """How it is spread, with its rows known, and how far it has come."""
    given, schedule = setting.given, setting.schedule
    epochs, steps = f"{given['epochs']} epochs", f"{schedule.epoch_steps:,} batches"
    local = f"{schedule.local_steps:,} batches" if schedule.epoch_rounds > 1 else "an epoch"
    ways = {
        "whole": f"whole: {epochs} of {steps}, each one task",
        "rounds": f"rounds: {epochs} of {steps} for each of {schedule.replicas} replicas, {local} a round, averaged "
        "after each",
        "gang": f"gang: {epochs} by {given['replicas']} members at once, which average every step",
    }
    lines = ["start: the first weights", ways[setting.way] + _early(given)]
    if given["way"] == "auto":
        shared, rows = rounds.rows_to_share(given), f"{schedule.rows:,} training rows"
        lines.append(f"  so, since it has {rows}: from {shared:,} on replicas share an epoch")
    if len(done) > setting.base and setting.way != "gang":
        lines += [f"  {line}" for line in _progress(setting, courses(setting, done)[1])]
    return lines


def _early(given: dict[str, Any]) -> str:
    return "" if given["patience"] is None else f"; ends after {given['patience']} epochs without a lower loss"


def _progress(setting: Setting, course: Course) -> Iterator[str]:
    epochs = course.rounds // setting.schedule.epoch_rounds
    yield f"{course.rounds:,} rounds are over, and {epochs:,} epochs with them"
    if course.best != NOWHERE and epochs:
        kind = "validation" if setting.validates else "training"
        yield f"the lowest {kind} loss is {course.best_loss:.6g}; epochs since it fell: {course.waited}"
    if course.factor != 1.0:
        yield f"the learning rate is {course.factor:g} of what it would be, since the loss stayed on a plateau"
