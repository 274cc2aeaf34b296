"""How a training by rounds unrolls: start, then round after round of its replicas and a reduce of each, then finish.

The rule: what comes next follows from the spec and from how far the training has come (`courses.py`). So do an early
end and the state that is kept.

Where the whole is one replica, a round is an epoch and there is nothing to reduce; a gang trains in one stage.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tensorfleet import catalog
from tensorfleet.kinds.courses import NOWHERE, Course, Setting, courses, setting_of
from tensorfleet.model import JobResult, JobSpec, ModelContent, Ref, Resolved, Task, TaskResult
from tensorfleet.plan import Done, Stage, StageResults

GANG_READS = (
    "epochs", "patience", "min_delta", "keep", "plateau_patience", "plateau_factor", "plateau_floor",
)  # fmt: skip
"""What a gang decides by at an epoch's end."""
START, ROUND, REDUCE, GANG, FINISH = "start", "round", "reduce", "gang", "finish"


def next_stage(
    spec: JobSpec,
    resolved: Resolved,
    done: Sequence[StageResults],
    base: int,
    stopping: bool = False,
) -> Stage | Done:
    """The stage after those that are done, of which the first `base` end with `prepare`; see `tensorfleet.plan.Plan`.

    stopping: training ends after the last round that is over; where none is, after the first.
    """
    setting = setting_of(spec, resolved, done[:base])
    if len(done) == base:
        return replace(_start(setting), total=_total(setting))
    if done[-1].name == FINISH:
        _, course = courses(setting, done[:-1])
        return Done(_result(setting, course, done[-1].results[0]))
    before, course = courses(setting, done)
    last = len(done) - 1
    releases = sorted(({last} | (before.needed if before else set())) - course.needed)
    stage = _after(setting, course, done, stopping)
    last_one = stage.name == FINISH  # where training ended early there are fewer
    total = sum(len(each.results) for each in done) + stage.count if last_one else _total(setting)
    return replace(stage, course=course, releases=tuple(done[place].name for place in releases), total=total)


def total_tasks(spec: JobSpec) -> int:
    """Tasks after `prepare`, as far as can be told before: rounds are taken to be epochs."""
    given: dict[str, Any] = catalog.parameters(spec)
    replicas, epochs = given["replicas"], given["epochs"]
    training = {"gang": replicas, "rounds": epochs * (replicas + 1)}.get(given["way"], epochs)
    return 2 + int(training)


def _total(setting: Setting) -> int:
    """Tasks in the whole job, unless it ends early."""
    schedule, epochs = setting.schedule, setting.given["epochs"]
    if setting.way == "gang":
        training = setting.given["replicas"]
    elif setting.way == "whole":
        training = epochs
    else:
        number = schedule.epoch_rounds
        training = epochs * ((number - 1) * schedule.replicas + schedule.working(number - 1) + number)
    return setting.before + 2 + int(training)


def _after(setting: Setting, course: Course, done: Sequence[StageResults], stopping: bool) -> Stage:
    if course.results != NOWHERE:
        return _reduce(setting, course, done)
    epochs, given = course.rounds // setting.schedule.epoch_rounds, setting.given
    out_of_patience = given["patience"] is not None and course.waited >= given["patience"]
    trained = course.rounds > 0 if setting.way == "gang" else epochs >= given["epochs"] or out_of_patience
    if trained or (stopping and course.rounds):
        return _finish(setting, course, done)
    return _gang(setting, course, done) if setting.way == "gang" else _round(setting, course, done)


def _start(setting: Setting) -> Stage:
    """The first state."""
    train, _, preparation = setting.prepared.outputs
    inputs = (train, preparation, *setting.model)
    return Stage(START, 1, lambda _: setting.task(setting.rounds.start, inputs, replicas=setting.schedule.replicas))


def _state(done: Sequence[StageResults], place: int) -> Ref:
    return done[place].results[0].outputs[0]


def _round(setting: Setting, course: Course, done: Sequence[StageResults]) -> Stage:
    """A task a replica that has steps in the round: its results, then what it carries on."""
    schedule = setting.schedule
    epoch, number = divmod(course.rounds, schedule.epoch_rounds)
    state = _state(done, course.state)
    own = [() if place == NOWHERE else (done[place].results[at].outputs[1],) for at, place in enumerate(course.own)]

    def task(index: int) -> Task:
        first_step, steps = schedule.steps(index, number)
        return setting.task(
            setting.rounds.local,
            (state, *own[index], *setting.prepared.outputs, *setting.blocks),
            replica=index,
            replicas=schedule.replicas,
            round=course.rounds,
            epoch=epoch,
            epoch_steps=schedule.epoch_steps,
            first_step=first_step,
            steps=steps,
            learning_rate_factor=course.factor,
            carried=bool(own[index]),
            evaluate=setting.way == "whole" and setting.validates,
        )

    return Stage(f"{ROUND}-{course.rounds}", schedule.working(number), task)


def _reduce(setting: Setting, course: Course, done: Sequence[StageResults]) -> Stage:
    """The state after a round; at an epoch's end it is evaluated."""
    epoch, number = divmod(course.rounds, setting.schedule.epoch_rounds)
    evaluate = setting.validates and number == setting.schedule.epoch_rounds - 1
    results = done[course.results].results
    inputs = [_state(done, course.state), *(result.outputs[0] for result in results)]
    if evaluate:
        inputs += [*setting.prepared.outputs[1:], *setting.blocks]
    task = setting.task(
        setting.rounds.reduce,
        inputs,
        round=course.rounds,
        epoch=epoch,
        evaluate=evaluate,
        samples=[result.summary["samples"] for result in results],
        outer_learning_rate=setting.given["outer_learning_rate"],
        outer_momentum=setting.given["outer_momentum"],
    )
    return Stage(f"{REDUCE}-{course.rounds}", 1, lambda _: task)


def _gang(setting: Setting, course: Course, done: Sequence[StageResults]) -> Stage:
    """A task a member, for all epochs; the first one makes the state."""
    members, state = setting.given["replicas"], _state(done, course.state)
    inputs = (state, *setting.prepared.outputs, *setting.blocks)
    params = {name: setting.given[name] for name in GANG_READS}

    def task(index: int) -> Task:
        # Its sums are those of the members that are there, in a ring: no other run need have the same bits.
        return replace(setting.task(setting.rounds.gang, inputs, member=index, **params), pure=False)

    least, sized_by = setting.given["min_members"] or 0, ("replicas", "min_members")
    return Stage(GANG, members, task, gang=True, least=least, sized_by=sized_by)


def _finish(setting: Setting, course: Course, done: Sequence[StageResults]) -> Stage:
    best = setting.validates and setting.given["keep"] == "best" and course.best != NOWHERE
    inputs = (_state(done, course.best if best else course.state), *setting.prepared.outputs, *setting.blocks)
    task = setting.task(
        setting.rounds.finish,
        inputs,
        hyperparameters=setting.given,
        preparation=setting.prepared.outputs[2].digest,
        rounds=course.rounds,
    )
    return Stage(FINISH, 1, lambda _: task)


def _result(setting: Setting, course: Course, finished: TaskResult) -> JobResult:
    summary: dict[str, Any] = finished.summary
    manifest, *parts = finished.outputs
    model = ModelContent(
        sha256=manifest.digest,
        parts=(manifest, setting.prepared.outputs[2], *parts),
        features=tuple(summary["features"]),
        target=str(summary["target"]),
        classes=tuple(summary["classes"]),
        dataset_digest=str(setting.prepared.summary["dataset_digest"]),
        environment=dict(summary["environment"]),
        metrics_on_training_rows=bool(summary["metrics_on_training_rows"]),
        framework=setting.algorithm.framework,
        image_shape=tuple(summary.get("image_shape", ())),
    )
    return JobResult(
        metrics=summary["metrics"], missing_metrics=summary["missing_metrics"], model=model, trained=course.ledger
    )
