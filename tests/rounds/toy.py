"""A family that trains by rounds with nothing but NumPy: softmax regression by SGD with momentum, on inputs that noise
drawn for each step blurs.

The rule: it does what a large family does: it carries what its optimizer remembers, and draws from seeds. `TOY_PACE`
has a round's task take as many seconds, and `TOY_STEP` each of its steps, so that faults meet it at work.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorfleet import bundle
from tensorfleet.algorithms import rounds
from tensorfleet.algorithms.algorithm import Algorithm
from tensorfleet.algorithms.parameters import Parameter, Real
from tensorfleet.algorithms.rounds import PLANNED, Rounds
from tensorfleet.operators import Context, Outcome

NAME = "toy"
Array = np.ndarray[Any, Any]


def start(context: Context) -> Outcome:
    train, preparation = (item.bundle() for item in context.inputs[:2])
    draw = np.random.default_rng(int(str(context.params["seed"])))
    shape = train["X"].shape[1], len(preparation["classes"])
    weights = [draw.normal(size=shape) * 0.01, np.zeros(shape[1])]
    return Outcome([bundle.encode({"version": 1, "weights": weights, "velocity": []})])


def local(context: Context) -> Outcome:
    params: Any = context.params
    time.sleep(float(os.environ.get("TOY_PACE", "0")))
    state = context.inputs[0].bundle()
    train, validation, preparation = (item.bundle() for item in context.inputs[1 + params["carried"] :][:3])
    speeds = context.inputs[1].bundle()["speeds"] if params["carried"] else [0.0 * item for item in state["weights"]]
    given, classes = params["hyperparameters"], preparation["classes"]
    rows = len(train["y"])
    dealt = rounds.schedule(rows, given["batch_size"], params["replicas"])
    begin, end = dealt.taken(params["replica"], params["first_step"], params["steps"])
    places = rounds.order(params["seed"], params["epoch"], rows)[begin:end]
    assert -(-len(places) // given["batch_size"]) == params["steps"]
    weights, total, done = list(state["weights"]), 0.0, 0
    if context.saved is not None:
        weights, speeds, total, done = (context.saved.bundle()[name] for name in ("weights", "speeds", "total", "done"))
        context.report("gone on from", done, total)
    pace = float(os.environ.get("TOY_STEP", "0"))
    size = given["batch_size"]
    for step, at in enumerate(range(done * size, len(places), size), params["first_step"] + done):
        batch = places[at : at + given["batch_size"]]
        draw = np.random.default_rng([params["seed"], params["replica"], params["epoch"], step])
        X = train["X"][batch] + given["noise"] * draw.normal(size=(len(batch), train["X"].shape[1]))
        loss, gradients = _gradients(weights, X, _labels(train["y"][batch], classes))
        total += loss * len(batch)
        rate = given["learning_rate"] * params["learning_rate_factor"]
        speeds = [given["momentum"] * speed - rate * slope for speed, slope in zip(speeds, gradients, strict=True)]
        weights = [item + speed for item, speed in zip(weights, speeds, strict=True)]
        done += 1
        kept = {"weights": weights, "speeds": speeds, "total": total, "done": done}
        if pace:
            context.report("steps", done, time.time())
            time.sleep(pace)
        context.control.between_steps(lambda kept=kept: bundle.encode(kept))
    summary = {
        "samples": len(places),
        "loss": total / len(places),
        "steps": params["steps"],
        "ledger": rounds.ledger(train["rows"][places], [100] * (-(-(rows * 2) // 100))),
    }
    if params["evaluate"]:
        summary["val_loss"] = _loss(weights, validation, classes)
    told = {"version": 1, "weights": weights, "velocity": []}
    return Outcome([bundle.encode(told), bundle.encode({"speeds": speeds})], summary)


def reduce(context: Context) -> Outcome:
    params: Any = context.params
    count = len(params["samples"])
    state, *results = (item.bundle() for item in context.inputs[: 1 + count])
    weights, velocity = rounds.average(
        state["weights"],
        state["velocity"],
        [result["weights"] for result in results],
        params["samples"],
        learning_rate=params["outer_learning_rate"],
        momentum=params["outer_momentum"],
    )
    summary: dict[str, Any] = {}
    if params["evaluate"]:
        validation, preparation = (item.bundle() for item in context.inputs[1 + count :])
        summary["val_loss"] = _loss(weights, validation, preparation["classes"])
    return Outcome([bundle.encode({"version": 1, "weights": weights, "velocity": velocity})], summary)


def finish(context: Context) -> Outcome:
    state, train, validation, preparation = (item.bundle() for item in context.inputs)
    rows = validation if len(validation["y"]) else train
    loss = _loss(state["weights"], rows, preparation["classes"])
    summary = {
        "metrics": {"loss": loss},
        "missing_metrics": {},
        "metrics_on_training_rows": rows is train,
        "features": preparation["features"],
        "target": preparation["target"],
        "classes": preparation["classes"],
        "environment": {"numpy": np.__version__},
    }
    weights = bundle.encode({"weights": state["weights"]})
    return Outcome([bundle.encode({"format": "toy", "weights": state["weights"]}), weights], summary)


def _labels(y: Array, classes: list[str]) -> Array:
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places[str(label)] for label in y], dtype=np.int64)


def _shares(weights: list[Array], X: Array) -> Array:
    scores = X @ weights[0] + weights[1]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _gradients(weights: list[Array], X: Array, labels: Array) -> tuple[float, list[Array]]:
    shares = _shares(weights, X)
    loss = -float(np.log(shares[np.arange(len(X)), labels]).mean())
    shares[np.arange(len(X)), labels] -= 1.0
    return loss, [X.T @ shares / len(X), shares.mean(axis=0)]


def _loss(weights: list[Array], rows: Any, classes: list[str]) -> float:
    return _gradients(weights, rows["X"], _labels(rows["y"], classes))[0]


def _apart(given: Mapping[str, Any]) -> frozenset[str]:
    return PLANNED | {"epochs"}


ALGORITHMS = (
    Algorithm(
        name=NAME,
        estimator="tests.Toy",
        goal="classification",
        display="Toy",
        operator="toy.local@1",
        scale=True,
        parameters=rounds.parameters(epochs=4)
        | {
            "learning_rate": Parameter(Real(0.0), 0.1),
            "momentum": Parameter(Real(0.0), 0.9),
            "noise": Parameter(Real(0.0), 0.1),
        },
        rounds=Rounds(
            start="toy.start@1", local="toy.local@1", reduce="toy.reduce@1", finish="toy.finish@1", apart=_apart
        ),
        listed=False,
    ),
)
OPERATORS = {"toy.start@1": start, "toy.local@1": local, "toy.reduce@1": reduce, "toy.finish@1": finish}
