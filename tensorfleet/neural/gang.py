"""Training by a gang: members that take each step together, each on its part of the batch, and add up their gradients.

The rule: all members have the same weights after each step, since they start from the same state and apply the same
sums; so the first one alone reports, saves, evaluates and makes the state, and says at an epoch's end how all go on. If
the job ends early, it makes the state of the steps that are done, while the others wait for it in the next sum.

There is one sum a step, of everything that is to be summed up.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from tensorfleet.algorithms import rounds
from tensorfleet.kinds.courses import Course, epoch_over
from tensorfleet.neural import optimizers, runtime, samples, stages, state, training
from tensorfleet.neural.ring import Ring, peers
from tensorfleet.neural.samples import Preparation, Samples
from tensorfleet.neural.training import Fed, Network, Pace, Speed, Sums
from tensorfleet.operators import Alone, Context, Outcome, Output

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FIRST = 0
SAVED_EVERY = 1.0
"""Seconds from one checkpoint to the next, at least."""
SAVING = 0.01
"""The share of the time that checkpoints may take: those of a large network are rarer."""
GOES_ON, ENDS = 0.0, 1.0


def train(context: Context) -> Outcome:
    """One member's part in a training of all epochs.

    Inputs: state, train, validation, preparation, then the blocks of an image dataset. Parameters: algorithm,
    hyperparameters, seed, epochs, patience, min_delta, keep, plateau_patience, plateau_factor, plateau_floor. Outputs,
    of the first member alone: the state with the best or the last weights. Summary, of the first: epochs, samples,
    loss, accuracy, ledger (epoch, block, rows, digest), val_loss and val_accuracy. BadInput where the loss is no
    number, PeerLost where another member cannot be reached.
    """
    # Alone in a process that computed before, it needs no strategy; else nothing else may have computed here.
    apart = not isinstance(context.control, Alone)
    runtime.start(context.threads, apart=apart)
    params = dict(context.params)
    before = context.inputs[0].bundle()
    common = samples.preparation(context.inputs[3], context.inputs[4:])
    rows, validation = (samples.read(each, common) for each in context.inputs[1:3])
    with runtime.errors_told(), peers():
        ring = Ring.met(context.control)
        member = Member(ring, params, rows, common, before["target"])
        with training.feeder() as beside:
            return _Training(context, params, member, rows, validation, common, before, beside).run()


class Member(Network):
    """A network that takes its steps with those of the other members."""

    def __init__(
        self, ring: Ring, params: Mapping[str, Any], data: Samples, common: Preparation, target: Sequence[float] | None
    ) -> None:
        import tensorflow as tf

        super().__init__(
            params["algorithm"], params["hyperparameters"], data.shape, len(common.classes) or None, target
        )
        self.ring = ring
        trained = {id(variable) for variable in self.model.trainable_weights}
        self._measured = [
            each for each in self.model.weights if id(each) not in trained and str(each.dtype).startswith("float")
        ]
        reals, real, one = (tf.TensorSpec([None] * axes, tf.float32) for axes in (2, 1, 0))
        values = tf.TensorSpec([None, None, *data.shape], self.model.inputs[0].dtype)
        answers = tf.TensorSpec([None, None], tf.int32 if self.classes else tf.float32)
        self._together = tf.function(self._steps_together, input_signature=[values, answers, real, reals, one, one])
        self._said = tf.function(lambda words: ring.sum([words])[0], input_signature=[real])

    def train_together(
        self, x: "Array", y: "Array", rates: "Array", weights: "Array", share: float, pace: int
    ) -> tuple["Array", "Array", int]:
        """One step for each batch, of which x, y and weights are this member's part; see `Network.train`.

        share: of the batch. pace: the first member's, of the next call. Gives the loss and the sum of right answers of
        whole batches, and that pace: all must take as many steps in each call, since sums are known by their place in
        it.
        """
        spoken = pace if self.ring.place == FIRST else 0
        told = self._together(x, y, rates, weights, share, spoken)
        return told[0].numpy(), told[1].numpy(), int(told[2].numpy()[-1])

    def agree(self, words: "Array") -> "Array":
        """What the first member says, to all. words: of any member, float32."""
        found: Array = self._said(words if self.ring.place == FIRST else 0 * words).numpy()
        return found

    def _steps_together(self, x: Any, y: Any, rates: Any, weights: Any, share: Any, pace: Any) -> Any:
        import tensorflow as tf

        count = tf.shape(rates)[0]
        told = [tf.TensorArray(tf.float32, size=count) for _ in range(3)]

        def body(place: Any, *told: Any) -> Any:
            found = self._step_together(x[place], y[place], rates[place], weights[place], share, pace)
            return place + 1, *(each.write(place, value) for each, value in zip(told, found, strict=True))

        _, *told = tf.while_loop(lambda place, *_: place < count, body, (0, *told), parallel_iterations=1)
        return [each.stack() for each in told]

    def _step_together(self, x: Any, y: Any, rate: Any, weights: Any, share: Any, pace: Any) -> Sequence[Any]:
        """As `Network._step`. The parts' mean losses, by their shares of the batch, add up to the batch's."""
        import tensorflow as tf

        self.optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            said, loss = self._lost(x, y, weights)
            loss = loss * tf.cast(share, loss.dtype)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(
            scaled, self.model.trainable_weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        right = tf.reduce_sum(self._right(y, said)) * tf.math.ceil(share)  # who has no part of it has one row to spare
        measured = [tf.convert_to_tensor(each.value) * tf.cast(share, each.dtype) for each in self._measured]
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        told = [tf.cast(loss, tf.float32), right, pace]
        sums = self.ring.sum([*told, *gradients, *measured])
        trained, statistics = sums[3 : 3 + len(gradients)], sums[3 + len(gradients) :]
        self.optimizer.apply_gradients(zip(trained, self.model.trainable_weights, strict=True))
        for variable, value in zip(self._measured, statistics, strict=True):
            variable.assign(value)
        return sums[:3]


class Progress(Struct):
    """How far a training has come. epoch, steps: the first that is not over, and its steps that are. sums: of that
    epoch. course: what its losses say of going on. best: the weights of the lowest loss, where these are kept."""

    epoch: int
    steps: int
    sums: Sums
    course: Course
    best: list[Any]
    ledger: list[list[Any]]
    figures: dict[str, float]


class _Training:
    """All epochs, from where an earlier formation saved them."""

    def __init__(
        self,
        context: Context,
        params: dict[str, Any],
        member: Member,
        rows: Samples,
        validation: Samples,
        common: Preparation,
        before: dict[str, Any],
        beside: Executor,
    ) -> None:
        self._context, self._params, self._member = context, params, member
        self._rows, self._validation, self._before = rows, validation, before
        self._given = params["hyperparameters"]
        self._batch = int(self._given["batch_size"])
        self._epoch_steps = -(-len(rows) // self._batch)
        self._order = lru_cache(2)(lambda epoch: rounds.order(int(params["seed"]), epoch, len(rows)))
        self._weights = samples.class_weights(self._given.get("class_weight"), rows.y, common.classes)
        self._first = member.ring.place == FIRST
        self._steps = 1  # of the next call, as the first member says
        self._pace = Pace(rows.take(_first_places()).nbytes * -(-self._batch // member.ring.size))
        self._save_from = perf_counter() + SAVED_EVERY
        self._beside = beside
        self._progress = self._begun()
        self._ready = self._prepare(self._progress.epoch, self._progress.steps)

    def run(self) -> Outcome:
        epochs, progress = int(self._params["epochs"]), self._progress
        going = progress.epoch < epochs
        while going:
            going = self._epoch() and self._epoch_over() and progress.epoch < epochs
        return self._outcome() if self._first else Outcome()

    def _begun(self) -> Progress:
        """The state, or what an earlier formation had made of it."""
        import numpy as np

        progress = Progress(0, 0, Sums(), Course(state=0, own=()), [], [], {})
        self._member.agree(np.zeros(2, dtype=np.float32))  # takes long the first time; not when an epoch is over
        self._member.begin(self._before["weights"], None, self._seed(0, 0))
        if self._context.saved is not None:
            saved = self._context.saved.bundle()
            self._member.resume(saved)
            progress.epoch, progress.steps, progress.sums = saved["epoch"], saved["steps"], Sums(**saved["sums"])
            progress.course = structs.replace(progress.course, **saved["course"])
            progress.best, progress.ledger, progress.figures = saved["best"], saved["ledger"], saved["figures"]
        return progress

    def _saved(self) -> Output:
        progress = self._progress
        course = {name: getattr(progress.course, name) for name in ("best_loss", "mark", "waited", "held", "factor")}
        return state.encode(
            {
                "version": state.VERSION,
                **self._member.saved(),
                "epoch": progress.epoch,
                "steps": progress.steps,
                "sums": structs.asdict(progress.sums),
                "course": course,
                "best": progress.best,
                "ledger": progress.ledger,
                "figures": progress.figures,
            }
        )

    def _seed(self, epoch: int, step: int) -> list[int]:
        """Of what this member draws from there on."""
        return [int(self._params["seed"]), self._member.ring.place, epoch, step]

    def _epoch(self) -> bool:
        """What is left of the epoch in hand, or of it until the job ends early: False."""
        progress, steps = self._progress, self._epoch_steps
        rates = optimizers.rates(self._given, progress.epoch, 0, steps, steps, progress.course.factor)
        self._member.draw(self._seed(progress.epoch, progress.steps))
        speed = Speed(self._context, progress.sums.samples)
        while progress.steps < steps and not self._between():
            fed, share = self._ready.result()
            self._ready = self._prepare(progress.epoch, progress.steps + fed.steps)
            begun = perf_counter()
            self._take(fed, share, rates)
            self._pace.took(fed.steps, perf_counter() - begun)
            if self._first:
                last = progress.epoch * steps + progress.steps - 1
                speed.tell(last, progress.sums.samples, over=progress.steps == steps)
        if self._first:
            taken = self._order(progress.epoch)[: progress.steps * self._batch]
            digests = rounds.ledger(self._rows.rows[taken], self._rows.block_rows)
            progress.ledger += [[progress.epoch, *line] for line in digests]
        return progress.steps == steps

    def _between(self) -> bool:
        """The first member stops for all: the others wait for it in the next sum. Whether all are to end here, with one
        step at least."""
        if not self._first:
            return False
        if (begun := perf_counter()) >= self._save_from:
            self._context.control.keep(self._saved())
            now = perf_counter()
            self._save_from = now + max(SAVED_EVERY, (now - begun) / SAVING)
        ends = self._context.control.between_steps(self._saved)
        return ends and bool(self._progress.epoch or self._progress.steps)

    def _prepare(self, epoch: int, done: int) -> "Future[tuple[Fed, float]]":
        """Has a call's samples gathered while another runs; where the epoch is over then, the first of the next."""
        if done == self._epoch_steps:
            epoch, done = epoch + 1, 0
        return self._beside.submit(self._fed, epoch, done, self._steps)

    def _fed(self, epoch: int, done: int, most: int) -> tuple[Fed, float]:
        """This member's part of at most so many of the batches that follow, of one size, and its share of each."""
        order, batch = self._order(epoch), self._batch
        full = len(order) // batch
        taken = min(most, full - done) if done < full else 1
        size = batch if done < full else len(order) - full * batch
        places, share = self._part(order[done * batch : done * batch + taken * size].reshape(taken, size))
        return training.fed(self._rows, places, self._weights), share

    def _take(self, fed: Fed, share: float, rates: "Array") -> None:
        """Some steps in one call, and how many the call after the next shall take."""
        progress, done = self._progress, self._progress.steps
        weights = _ones(fed.y.shape) if fed.weights is None else fed.weights
        loss, right, self._steps = self._member.train_together(
            fed.x, fed.y, rates[done : done + fed.steps], weights, share, self._pace.steps
        )
        for step in range(fed.steps):
            size = min(self._batch, len(self._rows) - (done + step) * self._batch)
            self._took(float(loss[step]), float(right[step]), size, progress.epoch * self._epoch_steps + done + step)
        progress.steps += fed.steps

    def _part(self, places: "Array") -> tuple["Array", float]:
        """This member's places of each batch, (steps, part), and its share of them. Where there are fewer places than
        members some have no share, and take a place to no effect."""
        ring = self._member.ring
        start, stop = rounds.part(places.shape[1], ring.size, ring.place)
        share = (stop - start) / places.shape[1]
        own = places[:, start:stop] if stop > start else places[:, :1]
        return own, share

    def _took(self, loss: float, right: float, size: int, step: int) -> None:
        sums = self._progress.sums
        if not math.isfinite(loss):
            raise training.not_finite(loss, f"in step {step + 1:,}")
        sums.samples += size
        sums.loss += loss * size
        sums.right += right
        if self._first:
            self._context.report("loss", step, loss)
            if self._member.classes:
                self._context.report("accuracy", step, right / size)

    def _epoch_over(self) -> bool:
        """Has the first member judge the epoch, and all go on as it says; whether they do."""
        import numpy as np

        progress = self._progress
        verdict = self._judged() if self._first else GOES_ON
        said = self._member.agree(np.array([verdict, progress.course.factor], dtype=np.float32))
        progress.course = structs.replace(progress.course, factor=float(said[1]))
        progress.epoch, progress.steps, progress.sums = progress.epoch + 1, 0, Sums()
        return float(said[0]) == GOES_ON

    def _judged(self) -> float:
        progress, params = self._progress, self._params
        loss = progress.sums.loss / progress.sums.samples
        figures = {"loss": loss}
        if self._member.classes:
            figures["accuracy"] = progress.sums.right / progress.sums.samples
        if len(self._validation):
            found = self._member.evaluate(self._validation, self._between_rows)
            validated = stages.validated(self._context, found, progress.epoch)
            figures |= validated
            loss = validated["val_loss"]
        progress.figures = figures
        best = progress.course.best_loss
        if len(self._validation) and params["keep"] == "best" and (best is None or loss < best):
            progress.best = state.values(self._member.model.weights)
        progress.course = epoch_over(params, progress.course, progress.epoch, loss)
        patience = params["patience"]
        return ENDS if patience is not None and progress.course.waited >= patience else GOES_ON

    def _between_rows(self) -> None:
        """A pause comes after the rows to validate on: the epoch's sums are not yet put away."""

    def _outcome(self) -> Outcome:
        progress = self._progress
        weights = progress.best or state.values(self._member.model.weights)
        summary: dict[str, Any] = {
            "epochs": progress.epoch,
            "samples": len(self._rows),
            "members": self._member.ring.size,
            "ledger": progress.ledger,
            **progress.figures,
        }
        return Outcome([state.encode({**self._before, "weights": weights})], summary)


def _first_places() -> "Array":
    import numpy as np

    return np.zeros(1, dtype=np.int64)


def _ones(shape: tuple[int, ...]) -> "Array":
    import numpy as np

    return np.ones(shape, dtype=np.float32)
