"""How far a training by rounds has come: what stays the same through it, and what its rounds have changed.

The rule: a course is a fold over the summaries of the stages that are done, and nothing else. What was found out up to
a stage goes along with it (`Stage.course`), so that a long training does not go through all of its rounds again for
each.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tensorfleet import catalog
from tensorfleet.algorithms import rounds
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.rounds import Rounds, Schedule, Way
from tensorfleet.kinds import ledgers
from tensorfleet.model import JobSpec, Ref, Resolved, Task, TaskResult, Trained, Value
from tensorfleet.plan import StageResults

NOWHERE = -1


class Setting(Struct, frozen=True, kw_only=True):
    """What stays the same through a training.

    given: every hyperparameter; kept: those that a round's tasks are given. base: how many stages come before `start`,
    of `before` tasks. blocks: an image dataset's, which the prepared rows point into. validates: whether there are rows
    to validate on.
    """

    spec: JobSpec
    algorithm: Algorithm
    rounds: Rounds
    given: dict[str, Any]
    kept: dict[str, Value]
    base: int
    before: int
    way: Way
    schedule: Schedule
    prepared: TaskResult
    blocks: tuple[Ref, ...]
    model: tuple[Ref, ...]
    validates: bool

    def task(self, operator: str, inputs: Sequence[Ref], **params: Value) -> Task:
        """A task, with what all of them are given."""
        same: dict[str, Value] = {
            "algorithm": self.algorithm.name,
            "hyperparameters": self.kept,
            "seed": self.spec.seed,
            "way": self.way,
        }
        threads = self.spec.resources.cpus
        return Task(operator=operator, params={**same, **params}, inputs=tuple(inputs), threads=threads)


class Course(Struct, frozen=True, kw_only=True):
    """How far a training has come; places are those of stages among all that are done.

    rounds: how many are over. state: the stage that made the last state. results: the one whose results wait to be
    reduced. own: the ones in which each replica left what it carries on. best: the one that made the state of the
    lowest loss, best_loss; of epochs. mark: the loss that the next must be lower than by `min_delta`, for the waits
    (epochs since it was) to begin anew. factor: of the learning rate. loss, samples: of the epoch in hand, summed up.
    ledger: the rows of the epochs that are over, equal ones together, and then those of the epoch in hand.
    """

    state: int
    own: tuple[int, ...]
    rounds: int = 0
    results: int = NOWHERE
    best: int = NOWHERE
    best_loss: float | None = None
    mark: float | None = None
    waited: int = 0
    held: int = 0
    factor: float = 1.0
    loss: float = 0.0
    samples: int = 0
    ledger: tuple[Trained, ...] = ()

    @property
    def needed(self) -> set[int]:
        """The stages whose outputs what follows may read."""
        return {self.state, self.results, self.best, *self.own} - {NOWHERE}


def setting_of(spec: JobSpec, resolved: Resolved, before: Sequence[StageResults]) -> Setting:
    """What a training's spec and the stages before `start` come to: `prepare`, and `ingest` where there is one."""
    prepared = before[-1].results[0]
    algorithm, given = catalog.algorithm(spec.algorithm), catalog.parameters(spec)
    assert algorithm.rounds is not None
    rows = int(prepared.summary["training_rows"])  # type: ignore[arg-type]
    apart = algorithm.rounds.apart(given)
    way = rounds.way(given, rows)
    shape: tuple[Any, ...] = (given["replicas"], given["local_steps"]) if way == "rounds" else ()
    return Setting(
        spec=spec,
        algorithm=algorithm,
        rounds=algorithm.rounds,
        given=given,
        kept={name: value for name, value in given.items() if name not in apart},
        base=len(before),
        before=sum(len(stage.results) for stage in before),
        way=way,
        schedule=rounds.schedule(rows, given["batch_size"], *shape),  # type: ignore[arg-type]
        prepared=prepared,
        blocks=_blocks(spec, resolved, before[0].results) if prepared.summary.get("image") else (),
        model=resolved.model,
        validates=bool(prepared.summary["validation_rows"]),
    )


def _blocks(spec: JobSpec, resolved: Resolved, ingested: Sequence[TaskResult]) -> tuple[Ref, ...]:
    """The blocks of the dataset, then those of the one to validate on."""
    training = resolved.dataset or ingested[0].outputs
    validation = resolved.validation or (ingested[-1].outputs if spec.validation_dataset else ())
    return (*training[1:], *validation[1:])


def courses(setting: Setting, done: Sequence[StageResults]) -> tuple[Course | None, Course]:
    """How far the training had come before the last of the stages, and how far it has with it."""
    place, before = len(done) - 1, None
    while place > setting.base and (before := _known(done[place])) is None:
        place -= 1
    course = _advanced(setting, before, done, place)
    for later in range(place + 1, len(done)):
        before, course = course, _advanced(setting, course, done, later)
    return before, course


def _known(stage: StageResults) -> Course | None:
    """How far the training had come when a stage was begun, where that is remembered."""
    course = stage.stage.course if stage.stage is not None else None
    return course if isinstance(course, Course) else None


def _advanced(setting: Setting, course: Course | None, done: Sequence[StageResults], place: int) -> Course:
    """How far the training has come with the stage at a place."""
    if course is None:
        return Course(state=place, own=(NOWHERE,) * setting.schedule.replicas)
    results = done[place].results
    if setting.way == "gang":
        return replace(course, state=place, rounds=course.rounds + 1, ledger=ledgers.of_epochs(_lines(results[:1])))
    if course.results != NOWHERE:
        return _round_over(setting, course, place, results[0])
    course = _trained(setting, course, place, results)
    return _round_over(setting, course, place, results[0]) if setting.way == "whole" else course


def _trained(setting: Setting, course: Course, place: int, results: Sequence[TaskResult]) -> Course:
    """With what the replicas of a round said."""
    epoch = course.rounds // setting.schedule.epoch_rounds
    counts = [int(result.summary["samples"]) for result in results]  # type: ignore[arg-type]
    losses = [float(result.summary["loss"]) for result in results]  # type: ignore[arg-type]
    return replace(
        course,
        results=place,
        own=(place,) * len(counts) + course.own[len(counts) :],
        loss=course.loss + sum(count * loss for count, loss in zip(counts, losses, strict=True)),
        samples=course.samples + sum(counts),
        ledger=ledgers.with_rows(course.ledger, epoch, _lines(results)),
    )


def _lines(results: Sequence[TaskResult]) -> list[Any]:
    """What the tasks say of the rows they trained on."""
    return [line for result in results for line in result.summary["ledger"]]  # type: ignore[union-attr]


def _round_over(setting: Setting, course: Course, place: int, state: TaskResult) -> Course:
    """With the state after a round. state: of its task, which has evaluated it at an epoch's end."""
    course = replace(course, state=place, results=NOWHERE, rounds=course.rounds + 1)
    if course.rounds % setting.schedule.epoch_rounds:
        return course
    course = replace(course, ledger=ledgers.with_epoch(course.ledger))
    told: Any = state.summary["val_loss"] if setting.validates else course.loss / course.samples
    return epoch_over(setting.given, replace(course, loss=0.0, samples=0), place, float(told))


def epoch_over(given: Mapping[str, Any], course: Course, place: int, loss: float) -> Course:
    """With the loss of an epoch's last state: that of the rows to validate on, where there are any."""
    lower = not math.isnan(loss)
    if lower and (course.best_loss is None or loss < course.best_loss):
        course = replace(course, best=place, best_loss=loss)
    if lower and (course.mark is None or loss < course.mark - given["min_delta"]):
        return replace(course, mark=loss, waited=0, held=0)
    course = replace(course, waited=course.waited + 1, held=course.held + 1)
    if given["plateau_patience"] is None or course.held < given["plateau_patience"]:
        return course
    return replace(course, held=0, factor=max(course.factor * given["plateau_factor"], given["plateau_floor"]))
