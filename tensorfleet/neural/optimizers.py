"""Optimizers, and the learning rate of each step.

The rule: a rate follows from the epochs that are done, whole ones and parts, and from nothing else; so replicas of any
number and rounds of any length go through the same rates.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SGD_MOMENTUM = 0.9
UNSET = 0.0


def build(given: Mapping[str, Any], model: Any) -> Any:
    """The optimizer of a model, its slots made. Its learning rate is to be set before each step, see `rates`."""
    import keras

    options = {name: given[name] for name in ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue")}
    options = {name: value for name, value in options.items() if value is not None}
    momentum = given["momentum"]
    made: Any
    match given["optimizer"]:
        case "adam":
            made = keras.optimizers.Adam(UNSET, **options)
        case "adamw":
            made = keras.optimizers.AdamW(UNSET, **options)
        case "rmsprop":
            made = keras.optimizers.RMSprop(UNSET, momentum=momentum or 0.0, **options)
        case _:
            pace = SGD_MOMENTUM if momentum is None else momentum
            made = keras.optimizers.SGD(UNSET, momentum=pace, nesterov=given["nesterov"], **options)
    if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
        made = keras.optimizers.LossScaleOptimizer(made)
    made.build(model.trainable_variables)
    return made


def rates(
    given: Mapping[str, Any], epoch: int, first_step: int, steps: int, epoch_steps: int, factor: float = 1.0
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The learning rates of some steps of an epoch of `epoch_steps`, (steps,). factor: the plateau's."""
    import numpy as np

    found = [
        factor * given["learning_rate"] * _share(given, epoch + (first_step + step) / epoch_steps, 1 / epoch_steps)
        for step in range(steps)
    ]
    return np.array(found, dtype=np.float32)


def scaled(given: Mapping[str, Any], replicas: int) -> float:
    """How much longer the steps of replicas are than those of one process (Goyal et al. 2017; for Adam and its like the
    root, Malladi et al. 2022)."""
    return {"root": math.sqrt(replicas), "linear": float(replicas), "none": 1.0}[given["replica_scaling"]]


def _share(given: Mapping[str, Any], done: float, step: float) -> float:
    """What part of the learning rate a step has, so many epochs being done. step: its own length in epochs."""
    warmup, share = given["warmup_epochs"], 1.0
    if given["schedule"] == "cosine":
        share = 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / given["epochs"])))
    elif given["schedule"] == "exponential":
        share = given["decay_rate"] ** done
    # The first step moves as well: it has the rate that the end of it deserves.
    return float(share * min(1.0, (done + step) / warmup) if warmup else share)
