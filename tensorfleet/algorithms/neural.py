"""Neural networks, on TensorFlow and Keras: dnn, cnn, resnet50, a user's own architecture, and their regressors.

The rule: this is data, and imports no TensorFlow; what computes is in `tensorfleet/neural`, and is imported by an
operator when it runs.
"""

from collections.abc import Collection, Mapping
from typing import Any

from tensorfleet.algorithms.algorithm import Algorithm, Goal
from tensorfleet.algorithms.common import CLASS_WEIGHT, NOT_NEGATIVE, NULL, OFF, POSITIVE
from tensorfleet.algorithms.parameters import Choice, Integer, Json, ListOf, Parameter, Real, one_of
from tensorfleet.algorithms.rounds import PLANNED, Rounds, parameters
from tensorfleet.model import Value
from tensorfleet.operators import Context, Operator, Outcome

ACTIVATIONS = ("relu", "elu", "gelu", "leaky_relu", "selu", "silu", "sigmoid", "softplus", "tanh", "linear")
BELOW_ONE = Real(0.0, 1.0, open_high=True)
DROPOUT = Parameter(BELOW_ONE, 0.0)
ACTIVATION = Parameter(Choice(ACTIVATIONS), "relu")
SIZES = ListOf(Integer(1))
SHAPE = Parameter(one_of(SIZES, NULL), None)

OUTER_MOMENTUM = 0.3
"""With the learning rate scaled by the root of the replicas, networks of 4 replicas are as good as those of one process
after as many epochs."""
LOCAL_STEPS = 32
"""Replicas that go on for long by themselves end where their average is good for nothing."""
SHARED = parameters(gang=True, local_steps=LOCAL_STEPS, outer_momentum=OUTER_MOMENTUM)

TRAINING: dict[str, Parameter] = {
    "learning_rate": Parameter(POSITIVE, 0.001),
    "replica_scaling": Parameter(Choice(("root", "linear", "none")), "root"),
    "optimizer": Parameter(Choice(("adam", "adamw", "sgd", "rmsprop")), "adam"),
    "momentum": Parameter(one_of(BELOW_ONE, NULL), None),
    "nesterov": OFF,
    "weight_decay": Parameter(one_of(NOT_NEGATIVE, NULL), None),
    "schedule": Parameter(Choice(("constant", "cosine", "exponential")), "constant"),
    "warmup_epochs": Parameter(NOT_NEGATIVE, 0.0),
    "decay_rate": Parameter(Real(0.0, 1.0, open_low=True), 0.9),
    "clipnorm": Parameter(one_of(POSITIVE, NULL), None),
    "global_clipnorm": Parameter(one_of(POSITIVE, NULL), None),
    "clipvalue": Parameter(one_of(POSITIVE, NULL), None),
    "mixed_precision": Parameter(one_of(Choice(("mixed_float16", "mixed_bfloat16")), NULL), None),
}
"""replica_scaling: each of R replicas takes as many fewer steps, and they are longer: by the root of R, by R or not at
all. Optimizers and clipping as in Keras. momentum: of sgd, where null is 0.9, and of rmsprop, where it is 0. nesterov:
of sgd. weight_decay: null for the optimizer's own. schedule: how the learning rate falls with the epochs: by a half
cosine to nothing at the last, or by `decay_rate` an epoch; it grows from nothing over `warmup_epochs`."""

AUGMENTATION: dict[str, Parameter] = {
    "flip": Parameter(one_of(Choice(("horizontal", "vertical", "both")), NULL), None),
    "shift": Parameter(BELOW_ONE, 0.0),
    "rotation": Parameter(Real(0.0, 180.0), 0.0),
}
"""Of the training images, drawn anew each time: flip. shift: the most, as a share of height and width. rotation: the
most, in degrees either way."""


def start(context: Context) -> Outcome:
    """The first state; see `tensorfleet.neural.stages.start`."""
    from tensorfleet.neural import stages

    return stages.start(context)


def local(context: Context) -> Outcome:
    """The steps of one replica in one round; see `tensorfleet.neural.stages.local`."""
    from tensorfleet.neural import stages

    return stages.local(context)


def reduce(context: Context) -> Outcome:
    """The state after a round; see `tensorfleet.neural.stages.reduce`."""
    from tensorfleet.neural import stages

    return stages.reduce(context)


def gang(context: Context) -> Outcome:
    """One member's part in a training that takes each step together; see `tensorfleet.neural.gang.train`."""
    from tensorfleet.neural import gang as together

    return together.train(context)


def finish(context: Context) -> Outcome:
    """The model; see `tensorfleet.neural.finishing.finish`."""
    from tensorfleet.neural import finishing

    return finishing.finish(context)


def _apart(given: Mapping[str, Value]) -> Collection[str]:
    """How many epochs there are changes nothing in any of them, but where the learning rate is to be gone by then: so a
    training of more epochs goes on from where one of fewer ended."""
    return PLANNED if given["schedule"] == "cosine" else PLANNED | {"epochs"}


ROUNDS = Rounds(
    start="neural.start@1",
    local="neural.local@1",
    reduce="neural.reduce@1",
    finish="neural.finish@1",
    gang="neural.gang@1",
    apart=_apart,
)


def _losses(goal: Goal) -> dict[str, Parameter]:
    if goal == "regression":
        return {"loss": Parameter(Choice(("mean_squared_error", "mean_absolute_error", "huber")), "mean_squared_error")}
    return {"class_weight": CLASS_WEIGHT, "label_smoothing": DROPOUT}


DENSE: dict[str, Parameter] = {
    "units": Parameter(one_of(Integer(1), SIZES), 128),
    "layers": Parameter(one_of(Integer(0), NULL), None),
    "activation": ACTIVATION,
    "dropout": DROPOUT,
    "batch_normalization": OFF,
}

CONVOLUTIONAL: dict[str, Parameter] = {
    "filters": Parameter(SIZES, [32, 64]),
    "kernel_size": Parameter(Integer(1), 3),
    "pooling": Parameter(one_of(Choice(("max", "average")), NULL), "max"),
    "pool_size": Parameter(Integer(1), 2),
    "units": Parameter(one_of(Integer(1), SIZES), 128),
    "layers": Parameter(one_of(Integer(0), NULL), None),
    "activation": ACTIVATION,
    "dropout": DROPOUT,
    "batch_normalization": OFF,
    "image_shape": SHAPE,
    **AUGMENTATION,
}

RESIDUAL: dict[str, Parameter] = {
    "image_size": Parameter(one_of(Integer(32), NULL), None),
    "dropout": DROPOUT,
    "image_shape": SHAPE,
    **AUGMENTATION,
}

OWN: dict[str, Parameter] = {"architecture": Parameter(one_of(Json(), NULL), None), "image_shape": SHAPE}


def _layers(given: Mapping[str, Value]) -> dict[str, str]:
    """What is wrong between the number of dense layers and their units."""
    units, layers = given.get("units"), given.get("layers")
    if isinstance(units, list) and layers is not None and len(units) != layers:
        return {"layers": f"expected null or {len(units)}, as many as units has, got {layers}"}
    return {}


def _shape(given: Mapping[str, Value]) -> dict[str, str]:
    shape: Any = given.get("image_shape")
    if shape is None or (len(shape) in (2, 3) and all(shape)):
        return {}
    return {"image_shape": f"expected [height, width] or [height, width, channels], got {shape}"}


def _rules(given: Mapping[str, Value]) -> dict[str, str]:
    wrong = {**_layers(given), **_shape(given)}
    if given["nesterov"] and (given["optimizer"] != "sgd" or given["momentum"] == 0):
        wrong["nesterov"] = "expected false, as it is of sgd with a momentum alone"
    least, most = (given[name] for name in ("min_members", "replicas"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        wrong["min_members"] = f"expected null or at most {most}, as many as there are replicas"
    clips = [name for name in ("clipnorm", "global_clipnorm", "clipvalue") if given[name] is not None]
    for name in clips[1:]:
        wrong[name] = f"expected null, since {clips[0]} is given: one of the three at most"
    if "architecture" in given:
        wrong |= _architecture(given["architecture"])
    return wrong


def _architecture(text: Any) -> dict[str, str]:
    from tensorfleet.neural import own

    if text in (None, "{}"):
        return {"architecture": "expected a Keras architecture, such as `model.to_json()` gives, got none"}
    reason = own.refusal(text)
    return {"architecture": reason} if reason else {}


def _network(name: str, goal: Goal, display: str, own: dict[str, Parameter]) -> Algorithm:
    """An algorithm of this family: all that train a network have in common, and what is `own` to this one."""
    regression = goal == "regression"
    return Algorithm(
        name=f"{name}_regressor" if regression else name,
        aliases=() if regression else (f"{name}_classifier",),
        estimator="keras.Model",
        goal=goal,
        display=display,
        operator=ROUNDS.local,
        parameters={**SHARED, **TRAINING, **_losses(goal), **own},
        scale=True,
        single=True,
        takes=frozenset({"table", "image"}),
        requires=("tensorflow", "keras", "h5py"),  # the last writes the weights that are kept
        rules=_rules,
        rounds=ROUNDS,
    )


ALGORITHMS: tuple[Algorithm, ...] = (
    _network("dnn", "classification", "DNN", DENSE),
    _network("dnn", "regression", "DNN", DENSE),
    _network("cnn", "classification", "CNN", CONVOLUTIONAL),
    _network("cnn", "regression", "CNN", CONVOLUTIONAL),
    _network("resnet50", "classification", "ResNet50", RESIDUAL),
    _network("keras", "classification", "Keras", OWN),
    _network("keras", "regression", "Keras", OWN),
)
OPERATORS: dict[str, Operator] = {
    ROUNDS.start: start,
    ROUNDS.local: local,
    ROUNDS.reduce: reduce,
    ROUNDS.gang: gang,
    ROUNDS.finish: finish,
}
