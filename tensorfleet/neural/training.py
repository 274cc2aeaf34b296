"""The training loop, the same for every way: steps of a model on batches, many in one call of TensorFlow.

The rule: how many steps a call takes follows the clock, and the numbers do not follow it: each step is one round of the
same traced loop. Between two calls whoever has the task run may reach in.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tensorfleet.errors import BadInput
from tensorfleet.neural import architecture, losses, optimizers, state
from tensorfleet.neural.samples import UNKNOWN, Samples
from tensorfleet.operators import Context

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CALL_SECONDS = 0.1
"""How long a call may take, where a step takes less: a pause acts after it, and a call costs a millisecond."""
CALL_BYTES = 32 * 1024 * 1024
"""Samples of one call, at most."""
TOLD_SECONDS = 1.0
"""How often the pace is told."""
VALIDATION_ROWS = 256
VALIDATION_VALUES = 2**22
"""Of one call that evaluates, at most: rows, and numbers in them."""


class Sums(Struct):
    """What the steps so far came to: samples, and the sums of their losses and of the right answers."""

    samples: int = 0
    loss: float = 0.0
    right: float = 0.0


class Figures(Struct, frozen=True):
    """Of rows that were evaluated: their mean loss; the share of right answers, or R2, which some rows have not."""

    loss: float
    accuracy: float | None


class Network:
    """A model with its optimizer, and the functions that were traced for them.

    hyperparameters, shape, classes, target: see `architecture.build`.
    """

    def __init__(
        self,
        algorithm: str,
        hyperparameters: Mapping[str, Any],
        shape: Sequence[int],
        classes: int | None,
        target: Sequence[float] | None,
    ) -> None:
        import tensorflow as tf

        self.classes = classes
        self.model = architecture.build(algorithm, hyperparameters, shape, classes, target)
        self.optimizer = optimizers.build(hyperparameters, self.model)
        self.seeds = seed_states(self.model)
        known = {id(variable) for variable in (*self.model.weights, *self.seeds)}
        self._others = [variable for variable in self.model.variables if id(variable) not in known]
        self._fresh = state.values([*self.optimizer.variables, *self._others])
        self._loss = losses.build(hyperparameters, classes, 1.0 if target is None else float(target[1]))
        values = tf.TensorSpec([None, None, *shape], self.model.inputs[0].dtype)
        answers = tf.TensorSpec([None, None], tf.int32 if classes else tf.float32)
        reals = tf.TensorSpec([None, None], tf.float32)
        signature = [values, answers, tf.TensorSpec([None], tf.float32)]
        self._plain = tf.function(self._steps, input_signature=signature)
        self._weighted = tf.function(self._steps, input_signature=[*signature, reals])
        self._evaluate = tf.function(self._judged, input_signature=[values, answers])

    def begin(self, weights: Sequence["Array"], carried: Sequence["Array"] | None, seed: Sequence[int]) -> None:
        """Is as at a round's start. carried: the optimizer's variables; None for new ones. seed: of what is drawn."""
        state.assign(self.model.weights, weights)
        state.assign([*self.optimizer.variables, *self._others], self._fresh)
        if carried is not None:
            state.assign(self.optimizer.variables, carried)
        self.draw(seed)

    def draw(self, seed: Sequence[int]) -> None:
        """Has what is drawn from there on follow from a seed."""
        import numpy as np

        for place, variable in enumerate(self.seeds):
            drawn = np.random.SeedSequence([*seed, place]).generate_state(variable.shape[0])
            variable.assign((drawn >> 1).astype(variable.dtype))

    def saved(self) -> dict[str, Any]:
        """All that `resume` needs."""
        return {
            "weights": state.values(self.model.weights),
            "optimizer": state.values(self.optimizer.variables),
            "others": state.values([*self.seeds, *self._others]),
        }

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Is as it was when it was saved."""
        state.assign(self.model.weights, saved["weights"])
        state.assign(self.optimizer.variables, saved["optimizer"])
        state.assign([*self.seeds, *self._others], saved["others"])

    def train(self, x: "Array", y: "Array", rates: "Array", weights: "Array | None" = None) -> tuple["Array", "Array"]:
        """One step for each batch. x: (steps, batch, …); y, weights: (steps, batch); rates: of learning, (steps,).

        Gives the loss and the sum of right answers of each step, as they were before it.
        """
        told = self._plain(x, y, rates) if weights is None else self._weighted(x, y, rates, weights)
        return told[0].numpy(), told[1].numpy()

    def evaluate(self, samples: Samples, between: Callable[[], object]) -> Figures:
        """How good the model is. between: called between two batches."""
        import numpy as np

        batch = max(1, min(VALIDATION_ROWS, VALIDATION_VALUES // math.prod(samples.shape)))
        loss, right, answered = 0.0, 0.0, 0
        for start in range(0, len(samples), batch):
            between()
            places = np.arange(start, min(start + batch, len(samples)))
            y = samples.y[places]
            each, correct = (part.numpy() for part in self._evaluate(samples.take(places)[None], y[None]))
            known = y != UNKNOWN if self.classes else slice(None)
            loss += float(each[known].sum(dtype=np.float64))
            right += float(correct.sum(dtype=np.float64))
            answered += len(each[known])
        penalty = float(sum(float(part) for part in self.model.losses))
        mean = loss / answered + penalty if answered else penalty
        return Figures(mean, self._accuracy(samples.y, right))

    def _accuracy(self, y: "Array", right: float) -> float | None:
        """Of a classifier the share of right answers; else R2, `right` being the sum of squared errors."""
        import numpy as np

        if self.classes:
            return right / len(y)
        spread = float(((y - y.mean(dtype=np.float64)) ** 2).sum(dtype=np.float64))
        return 1.0 - right / spread if spread else None

    def _steps(self, x: Any, y: Any, rates: Any, weights: Any = None) -> Any:
        import tensorflow as tf

        count = tf.shape(rates)[0]
        told = tf.TensorArray(tf.float32, size=count), tf.TensorArray(tf.float32, size=count)

        def body(place: Any, loss: Any, right: Any) -> Any:
            found = self._step(x[place], y[place], rates[place], None if weights is None else weights[place])
            return place + 1, loss.write(place, found[0]), right.write(place, found[1])

        _, loss, right = tf.while_loop(lambda place, *_: place < count, body, (0, *told), parallel_iterations=1)
        return loss.stack(), right.stack()

    def _step(self, x: Any, y: Any, rate: Any, weights: Any) -> tuple[Any, Any]:
        """As Keras's own step, see `keras.Model.train_step`."""
        import tensorflow as tf

        self.optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            said, loss = self._lost(x, y, weights)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.model.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_weights, strict=True))
        return tf.cast(loss, tf.float32), tf.reduce_sum(self._right(y, said))

    def _lost(self, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
        """What the model says of a batch that it trains on, and its mean loss with what the layers add."""
        import tensorflow as tf

        said = self.model(x, training=True)
        loss = self._loss(y, said, sample_weight=weights)
        if self.model.losses:
            loss = loss + tf.add_n([tf.cast(part, loss.dtype) for part in self.model.losses])
        return said, loss

    def _judged(self, x: Any, y: Any) -> tuple[Any, Any]:
        """The loss of each row, and what is right; of rows without a known label any loss."""
        import tensorflow as tf

        said = self.model(x[0], training=False)
        return tf.cast(self._loss.call(tf.maximum(y[0], 0) if self.classes else y[0], said), tf.float32), self._right(
            y[0], said
        )

    def _right(self, y: Any, said: Any) -> Any:
        """Of each row 1 for a right class, or the squared error."""
        import tensorflow as tf

        if self.classes:
            return tf.cast(tf.equal(tf.argmax(said, axis=-1, output_type=tf.int32), y), tf.float32)
        return tf.square(tf.reshape(tf.cast(said, tf.float32), [-1]) - y)


class Round(Struct, frozen=True, kw_only=True):
    """The steps that a task takes: their places in the training rows, in order, and what else each has.

    places: of all steps, (samples,). batch_size: of each step but the last, which has what is left. rates: (steps,).
    weights: of the samples of each class, or None. epoch, first_step: where the steps begin. epoch_steps: in an epoch.
    """

    places: "Array"
    batch_size: int
    rates: "Array"
    weights: "Array | None"
    epoch: int
    first_step: int
    epoch_steps: int

    @property
    def steps(self) -> int:
        return len(self.rates)


def run(
    context: Context,
    network: Network,
    samples: Samples,
    work: Round,
    done: int,
    sums: Sums,
    between: Callable[[int], None],
) -> None:
    """Takes the steps from `done` on and adds to the sums; `between(steps done)` is called between two calls.

    BadInput where a loss is no finite number.
    """
    pace = Pace(work.batch_size * samples.take(work.places[:1]).nbytes)
    origin = work.epoch * work.epoch_steps + work.first_step
    speed = Speed(context, sums.samples)
    with feeder() as beside:
        ready = beside.submit(_fed, samples, work, done, pace.steps)
        while done < work.steps:
            between(done)
            fed = ready.result()
            if done + fed.steps < work.steps:
                ready = beside.submit(_fed, samples, work, done + fed.steps, pace.steps)
            begun = perf_counter()
            _train(network, fed, work, done, sums, context, origin)
            pace.took(fed.steps, perf_counter() - begun)
            done += fed.steps
            speed.tell(origin + done - 1, sums.samples, over=done == work.steps)
    between(done)


def feeder() -> ThreadPoolExecutor:
    """The thread that gathers what the next call is fed while one runs."""
    return ThreadPoolExecutor(1, "feeder")


class Fed(Struct, frozen=True):
    """What a call is fed: x (steps, batch, …); y, and the weights if there are any, (steps, batch)."""

    x: "Array"
    y: "Array"
    weights: "Array | None"

    @property
    def steps(self) -> int:
        return len(self.y)


def fed(samples: Samples, places: "Array", weights: "Array | None") -> Fed:
    """The samples at places, (steps, batch). weights: of each class."""
    y = samples.y[places]
    x = samples.take(places.reshape(-1)).reshape(*places.shape, *samples.shape)
    return Fed(x, y, None if weights is None else weights[y])


def _fed(samples: Samples, work: Round, done: int, most: int) -> Fed:
    """What at most so many of the steps that follow are fed."""
    taken, start = min(most, _alike(work, done)), done * work.batch_size
    places = work.places[start : start + taken * work.batch_size]
    return fed(samples, places.reshape(taken, -1), work.weights)


def _train(network: Network, fed: Fed, work: Round, done: int, sums: Sums, context: Context, origin: int) -> None:
    """Some steps in one call."""
    batch = fed.y.shape[1]
    loss, right = network.train(fed.x, fed.y, work.rates[done : done + fed.steps], fed.weights)
    for step in range(fed.steps):
        _check(float(loss[step]), work, done + step)
        context.report("loss", origin + done + step, float(loss[step]))
        if network.classes:
            context.report("accuracy", origin + done + step, float(right[step]) / batch)
        sums.loss += float(loss[step]) * batch
        sums.right += float(right[step])
    sums.samples += fed.y.size


def _alike(work: Round, done: int) -> int:
    """How many of the steps that follow have batches of one size."""
    full = len(work.places) // work.batch_size
    return full - done if done < full else 1


def _check(loss: float, work: Round, step: int) -> None:
    if not math.isfinite(loss):
        raise not_finite(loss, f"in step {work.first_step + step + 1:,} of epoch {work.epoch + 1:,}")


def not_finite(loss: float, where: str) -> BadInput:
    """The error for a loss that is no number."""
    return BadInput(
        f"the loss is {loss} {where}: the training has diverged; take a lower learning_rate or a clipnorm, and see "
        "that the data has no enormous values",
        reason="LOSS_NOT_FINITE",
    )


class Speed:
    """Tells how many samples a second go by. samples: that had gone by at the start."""

    def __init__(self, context: Context, samples: int) -> None:
        self._context = context
        self._at, self._samples = perf_counter(), samples

    def tell(self, step: int, samples: int, *, over: bool) -> None:
        """At a step's end; told each TOLD_SECONDS, and when it is over."""
        now = perf_counter()
        if now > self._at and (over or now - self._at >= TOLD_SECONDS):
            self._context.report("samples_per_second", step, (samples - self._samples) / (now - self._at))
            self._at, self._samples = now, samples


class Pace:
    """How many steps a call takes, so that it takes about CALL_SECONDS."""

    def __init__(self, step_bytes: int) -> None:
        self.steps = 1
        self._most = max(1, CALL_BYTES // max(1, step_bytes))

    def took(self, steps: int, seconds: float) -> None:
        fitting = int(CALL_SECONDS * steps / max(seconds, 1e-6))
        self.steps = max(1, min(fitting, 2 * self.steps, self._most))


def seed_states(model: Any) -> list[Any]:
    """The variables that what a model draws depends on, in the order of its layers."""
    found = [generator.state for layer in model._flatten_layers() for generator in layer._seed_generators]
    return list({id(variable): variable for variable in found}.values())
