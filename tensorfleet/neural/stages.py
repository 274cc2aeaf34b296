"""The operators of a training by rounds: the first state, a replica's steps, and the state after a round.

The rule: each is a pure function of its parameters and inputs; what a process has compiled before only saves its time.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from tensorfleet import keys
from tensorfleet.algorithms import rounds
from tensorfleet.neural import optimizers, resuming, runtime, samples, state, training
from tensorfleet.neural.samples import Preparation, Samples
from tensorfleet.neural.training import Figures, Network, Round, Sums
from tensorfleet.operators import Context, Input, Outcome, Output

FED = {
    *("batch_size", "class_weight", "epochs"),
    *("learning_rate", "schedule", "warmup_epochs", "decay_rate", "replica_scaling"),
}
"""Parameters that decide what a network is fed, and not what it is."""


def start(context: Context) -> Outcome:
    """The first state.

    Inputs: train, preparation, then the parts of a model whose weights it goes on from. Parameters: algorithm,
    hyperparameters, seed, way, replicas. Outputs: the state.
    """
    runtime.start(context.threads)
    import keras

    params = _params(context)
    # The preparation's pixels are not needed to know their shape.
    common = samples.preparation(context.inputs[1], ())
    train = samples.read(context.inputs[0], common)
    given = params["hyperparameters"]
    samples.class_weights(given.get("class_weight"), train.y, common.classes)
    earlier = resuming.earlier(context.inputs[2:])
    earlier.check_classes(common.classes)
    scaled = not common.classes and params["algorithm"] != "keras_regressor"
    target = (earlier.target or samples.spread(train.y)) if scaled else None
    with runtime.errors_told():
        keras.utils.set_random_seed(int(params["seed"]))
        network = Network(params["algorithm"], given, train.shape, len(common.classes) or None, target)
        weights = earlier.weights(network.model)
    trained = {id(variable) for variable in network.model.trainable_weights}
    statistics = [place for place, variable in enumerate(network.model.weights) if id(variable) not in trained]
    runtime.keep(_key(params, train, common, target), network)
    content = state.tree(weights, target=target, statistics=statistics)
    return Outcome([state.encode(content)], {"parameters": int(network.model.count_params())})


def local(context: Context) -> Outcome:
    """The steps of one replica in one round.

    Inputs: state, what the replica carries on (where the parameters say `carried`), train, validation, preparation,
    then the blocks of an image dataset. Outputs: the state with the weights after the steps, and what the replica
    carries on. Summary: samples, steps, loss, accuracy, ledger, and of the rows to validate on, where the parameters
    say `evaluate`, val_loss and val_accuracy. BadInput where the loss is no number.
    """
    runtime.start(context.threads)
    params = _params(context)
    before = context.inputs[0].bundle()
    carried = context.inputs[1].bundle()["optimizer"] if params["carried"] else None
    rest = context.inputs[2 if params["carried"] else 1 :]
    common = samples.preparation(rest[2], rest[3:])
    train = samples.read(rest[0], common)
    work = _work(params, train, common)
    with runtime.errors_told():
        network = _network(params, train, common, before["target"])
        network.begin(before["weights"], carried, _seed(params))
        sums, done = _resumed(context, network)

        def between(steps: int) -> None:
            context.control.between_steps(lambda: _save(network, sums, steps))

        training.run(context, network, train, work, done, sums, between)
        judged: dict[str, Any] = {}
        if params["evaluate"]:
            validation = samples.read(rest[1], common)
            figures = network.evaluate(validation, lambda: between(work.steps))
            judged = validated(context, figures, int(params["epoch"]))
    weights = state.values(network.model.weights)
    after = {**before, "weights": weights}
    own = {"version": state.VERSION, "optimizer": state.values(network.optimizer.variables)}
    summary = {
        "samples": sums.samples,
        "steps": work.steps,
        "loss": sums.loss / sums.samples,
        "ledger": rounds.ledger(train.rows[work.places], train.block_rows),
        **({"accuracy": sums.right / sums.samples} if common.classes else {}),
        **judged,
    }
    return Outcome([state.encode(after), state.encode(own)], summary)


def reduce(context: Context) -> Outcome:
    """The state after a round: the replicas' weights, averaged.

    Inputs: state, the replicas' results in their order, and, where the parameters say `evaluate`, validation,
    preparation and the blocks of an image dataset. Outputs: the state. Summary: val_loss and val_accuracy where it
    evaluates.
    """
    params = _params(context)
    counts: list[int] = params["samples"]
    before = context.inputs[0].bundle()
    results = [item.bundle()["weights"] for item in context.inputs[1 : 1 + len(counts)]]
    weights, velocity = rounds.average(
        before["weights"],
        before["velocity"],
        results,
        counts,
        learning_rate=params["outer_learning_rate"],
        momentum=params["outer_momentum"],
        statistics=before["statistics"],
    )
    after = {**before, "weights": weights, "velocity": velocity}
    summary = _evaluated(context, params, after, context.inputs[1 + len(counts) :]) if params["evaluate"] else {}
    return Outcome([state.encode(after)], summary)


def _evaluated(context: Context, params: Any, after: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
    """How good a state is on the rows to validate on."""
    runtime.start(context.threads)
    common = samples.preparation(inputs[1], inputs[2:])
    validation = samples.read(inputs[0], common)
    with runtime.errors_told():
        network = _network(params, validation, common, after["target"])
        state.assign(network.model.weights, after["weights"])
        figures = network.evaluate(validation, lambda: context.control.between_steps(lambda: state.encode({})))
    return validated(context, figures, int(params["epoch"]))


def validated(context: Context, figures: Figures, epoch: int) -> dict[str, Any]:
    """The figures as a summary has them; told as those of an epoch."""
    if not math.isfinite(figures.loss):
        raise training.not_finite(figures.loss, f"on the rows to validate on, after epoch {epoch + 1:,}")
    told = {"val_loss": figures.loss, "val_accuracy": figures.accuracy}
    found = {name: value for name, value in told.items() if value is not None}
    for name, value in found.items():
        context.report(name, epoch, value)
    return found


def _params(context: Context) -> dict[str, Any]:
    return dict(context.params)


def _work(params: Mapping[str, Any], train: Samples, common: Preparation) -> Round:
    """The steps that the parameters ask for."""
    given, epoch, first_step, steps = (params[name] for name in ("hyperparameters", "epoch", "first_step", "steps"))
    dealt = rounds.schedule(len(train), given["batch_size"], params["replicas"])
    factor = params["learning_rate_factor"] * optimizers.scaled(given, params["replicas"])
    begin, end = dealt.taken(params["replica"], first_step, steps)
    return Round(
        places=_order(params["seed"], epoch, len(train))[begin:end],
        batch_size=given["batch_size"],
        rates=optimizers.rates(given, epoch, first_step, steps, params["epoch_steps"], factor),
        weights=samples.class_weights(given.get("class_weight"), train.y, common.classes),
        epoch=epoch,
        first_step=first_step,
        epoch_steps=params["epoch_steps"],
    )


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, rows: int) -> Any:
    """An epoch's order, which its rounds share."""
    return rounds.order(seed, epoch, rows)


def _network(params: Mapping[str, Any], data: Samples, common: Preparation, target: Sequence[float] | None) -> Network:
    """The network that the parameters and the data ask for, as this process may have it already."""
    classes = len(common.classes) or None
    given = params["hyperparameters"]
    return runtime.compiled(
        _key(params, data, common, target), lambda: Network(params["algorithm"], given, data.shape, classes, target)
    )


def _key(params: Mapping[str, Any], data: Samples, common: Preparation, target: Sequence[float] | None) -> bytes:
    return keys.encode(
        [
            params["algorithm"],
            {name: value for name, value in params["hyperparameters"].items() if name not in FED},
            list(data.shape),
            len(common.classes),
            None if target is None else list(target),
        ]
    )


def _seed(params: Mapping[str, Any]) -> list[int]:
    """Of what the steps draw."""
    return [int(params[name]) for name in ("seed", "replica", "epoch", "first_step")]


def _save(network: Network, sums: Sums, steps: int) -> Output:
    """All that another attempt goes on from."""
    told = {"samples": sums.samples, "loss": sums.loss, "right": sums.right}
    return state.encode({"version": state.VERSION, **network.saved(), "sums": told, "steps": steps})


def _resumed(context: Context, network: Network) -> tuple[Sums, int]:
    """What an earlier attempt had summed up, and the steps that it had taken."""
    if context.saved is None:
        return Sums(), 0
    saved = context.saved.bundle()
    network.resume(saved)
    return Sums(**saved["sums"]), int(saved["steps"])
