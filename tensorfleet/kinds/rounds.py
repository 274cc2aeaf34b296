"""How a training by rounds unrolls: start, then round after round of its replicas and a reduce of each, then finish.

The rule: what comes next follows from the spec and the summaries of the rounds that are over, and so do an early end
and the state that is kept. What was found out up to a stage goes along with it (`Stage.course`), so that a long
training does not go through all of its rounds again for each.

Where the whole is one replica, a round is an epoch and there is nothing to reduce; a gang trains in one stage.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tensorfleet import catalog
from tensorfleet.algorithms import rounds
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.rounds import Rounds, Schedule, Way
from tensorfleet.kinds import ledgers
from tensorfleet.model import JobResult, JobSpec, ModelContent, Ref, Resolved, Task, TaskResult, Trained, Value
from tensorfleet.plan import Done, Stage, StageResults

NOWHERE = -1
START, ROUND, REDUCE, GANG, FINISH = "start", "round", "reduce", "gang", "finish"


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


def next_stage(
    spec: JobSpec,
    resolved: Resolved,
    done: Sequence[StageResults],
    ingested: Sequence[TaskResult],
    base: int,
    stopping: bool = False,
) -> Stage | Done:
    """The stage after those that are done, of which the first `base` end with `prepare`; see `tensorfleet.plan.Plan`.

    stopping: training ends after the last round that is over; where none is, after the first.
    """
    setting = _setting(spec, resolved, done[:base], ingested)
    if len(done) == base:
        return replace(_start(setting), total=_total(setting))
    if done[-1].name == FINISH:
        _, course = _courses(setting, done[:-1])
        return Done(_result(setting, course, done[-1].results[0]))
    before, course = _courses(setting, done)
    last = len(done) - 1
    releases = sorted(({last} | (before.needed if before else set())) - course.needed)
    stage = _after(setting, course, done, stopping)
    return replace(stage, course=course, releases=tuple(done[place].name for place in releases), total=_total(setting))


def total_tasks(spec: JobSpec) -> int:
    """Tasks after `prepare`, as far as can be told before: rounds are taken to be epochs."""
    given: dict[str, Any] = catalog.parameters(spec)
    replicas, epochs = given["replicas"], given["epochs"]
    training = {"gang": replicas, "rounds": epochs * (replicas + 1)}.get(given["way"], epochs)
    return 2 + int(training)


def describe(spec: JobSpec) -> list[str]:
    """How the training is spread, a line a stage, for people."""
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
    early = f"; ends after {given['patience']} epochs without a lower loss" if given["patience"] is not None else ""
    return ["start: the first weights", ways[given["way"]] + early]


def _setting(
    spec: JobSpec, resolved: Resolved, before: Sequence[StageResults], ingested: Sequence[TaskResult]
) -> Setting:
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
        blocks=_blocks(spec, resolved, ingested) if prepared.summary.get("image") else (),
        model=resolved.model,
        validates=bool(prepared.summary["validation_rows"]),
    )


def _blocks(spec: JobSpec, resolved: Resolved, ingested: Sequence[TaskResult]) -> tuple[Ref, ...]:
    """The blocks of the dataset, then those of the one to validate on."""
    training = resolved.dataset or ingested[0].outputs
    validation = resolved.validation or (ingested[-1].outputs if spec.validation_dataset else ())
    return (*training[1:], *validation[1:])


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


def _courses(setting: Setting, done: Sequence[StageResults]) -> tuple[Course | None, Course]:
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
        return replace(course, state=place, rounds=course.rounds + 1, ledger=ledgers.of_epochs(_lines(results)))
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
    return _epoch_over(setting.given, replace(course, loss=0.0, samples=0), place, float(told))


def _epoch_over(given: dict[str, Any], course: Course, place: int, loss: float) -> Course:
    """With the loss of an epoch's last state: that of the rows to validate on, where there are any."""
    if course.best_loss is None or loss < course.best_loss:
        course = replace(course, best=place, best_loss=loss)
    if course.mark is None or loss < course.mark - given["min_delta"]:
        return replace(course, mark=loss, waited=0, held=0)
    course = replace(course, waited=course.waited + 1, held=course.held + 1)
    if given["plateau_patience"] is None or course.held < given["plateau_patience"]:
        return course
    return replace(course, held=0, factor=max(course.factor * given["plateau_factor"], given["plateau_floor"]))


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
    params = {name: setting.given[name] for name in ("epochs", "patience", "min_delta", "keep")}

    def task(index: int) -> Task:
        return setting.task(setting.rounds.gang, inputs, member=index, members=members, **params)

    return Stage(GANG, members, task)


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
    )
    return JobResult(
        metrics=summary["metrics"], missing_metrics=summary["missing_metrics"], model=model, trained=course.ledger
    )
