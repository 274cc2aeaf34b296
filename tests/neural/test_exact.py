"""Equal tasks leave equal bytes: beside plain Keras, in another process, after another job, and from a save on."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorfleet import bundle
from tensorfleet.algorithms import rounds
from tensorfleet.neural import runtime
from tensorfleet.operators import Input, Output, Roster, Unsuited
from tests.neural.small import SEED, Training, blobs, digest, line, weights

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dnn": ("dnn", {"dropout": 0.3, "batch_normalization": True, "class_weight": "balanced"}),
    "cnn": ("cnn", {"filters": [4], "flip": "both", "shift": 0.2, "rotation": 20.0, "schedule": "cosine"}),
    "half": ("dnn_regressor", {"mixed_precision": "mixed_float16", "optimizer": "adamw", "schedule": "exponential"}),
}


def make(kind: str, folder: Path) -> Training:
    algorithm, given = KINDS[kind]
    rows = line() if algorithm.endswith("regressor") else blobs()
    return Training(folder, algorithm, rows, batch_size=16, units=12, layers=1, **given)


@pytest.mark.parametrize("given", [{}, {"optimizer": "sgd"}, {"optimizer": "rmsprop"}, {"optimizer": "adamw"}])
def test_the_whole_is_what_plain_keras_fits_on_the_same_batches(tmp_path: Path, given: dict[str, Any]) -> None:
    training = Training(tmp_path, "dnn", blobs(), batch_size=16, **given)
    state = training.start()
    ours, _ = training.epochs(3)
    theirs = plain(training, weights([state.path.read_bytes()]), 3)
    for one, other in zip(weights(ours.outputs[0]), theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def plain(training: Training, first: list[Any], epochs: int) -> list[Any]:
    """The weights after Keras's own `fit`, over the batches that a training goes through."""
    import keras
    import tensorflow as tf

    model = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    optimizers: Any = {
        "adam": keras.optimizers.Adam(),
        "adamw": keras.optimizers.AdamW(),
        "sgd": keras.optimizers.SGD(0.001, momentum=0.9),
        "rmsprop": keras.optimizers.RMSprop(),
    }
    model.compile(optimizers[training.given["optimizer"]], "sparse_categorical_crossentropy")
    model.set_weights(first)
    train = training.prepared[0].bundle()
    for epoch in range(epochs):
        order = rounds.order(SEED, epoch, len(train["y"]))
        data = tf.data.Dataset.from_tensor_slices((train["X"][order], train["y"][order])).batch(16)
        model.fit(data, epochs=1, shuffle=False, verbose=0)
    found: list[Any] = model.get_weights()
    return found


def test_what_a_process_did_before_shows_in_nothing(tmp_path: Path) -> None:
    kinds = {kind: make(kind, tmp_path) for kind in KINDS}
    first = {kind: training.epochs(2)[1] for kind, training in kinds.items()}
    again = {kind: training.epochs(2)[1] for kind, training in kinds.items()}
    assert again == first
    assert kinds["half"].epochs(2)[1] == first["half"]  # warm


def test_another_process_leaves_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; import sys; from tests.neural.test_exact import KINDS, make\n"
        "print(*[make(kind, Path(sys.argv[1])).epochs(2)[1][-1] for kind in KINDS])"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [make(kind, tmp_path).epochs(2)[1][-1] for kind in KINDS]
    assert run.stderr == ""


class Interrupted(BaseException):
    """The task had to give up its place."""


class After:
    """Has a task save what it has, and leave, once it was asked so often between its steps."""

    def __init__(self, keep: Callable[[Output], Input], calls: int) -> None:
        self._keep, self._left = keep, calls
        self.saved: Input | None = None

    def between_steps(self, save: Callable[[], Output]) -> bool:
        if not self._left:
            self.saved = self._keep(save())
            raise Interrupted
        self._left -= 1
        return False

    def meet(self, address: str) -> Roster:
        raise NotImplementedError


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_goes_on_from_a_save_ends_as_if_it_had_not_been_stopped(tmp_path: Path, kind: str) -> None:
    training = make(kind, tmp_path)
    state = training.start()
    first = training.local(state)
    own = training.keep(first.outputs[1])
    state = training.keep(first.outputs[0])
    through = training.local(state, own, epoch=1)
    told = training.points
    for calls in (0, 2, 4):
        training.points = {}
        control = After(training.keep, calls)
        with pytest.raises(Interrupted):
            training.local(state, own, epoch=1, control=control)
        training.local(state)  # as in a process that did something else meanwhile
        training.points = {}
        resumed = training.local(state, own, epoch=1, saved=control.saved)
        assert [digest(output) for output in resumed.outputs] == [digest(output) for output in through.outputs]
        assert resumed.summary == through.summary
        again = training.points.get("loss", {})
        assert again.items() <= told["loss"].items()
        assert (len(again) < 7) == (calls > 0)


def test_how_many_steps_a_call_takes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, training = set(), make("dnn", tmp_path)
    state = training.start()
    for seconds in (0.0, 0.04, 10.0):
        monkeypatch.setattr("tensorfleet.neural.training.CALL_SECONDS", seconds)
        found.add(tuple(digest(output) for output in training.local(state).outputs))
    assert len(found) == 1


def test_replicas_draw_otherwise_and_take_the_rows_that_are_theirs(tmp_path: Path) -> None:
    training = make("dnn", tmp_path)
    state = training.start()
    results = [training.local(state, replica=replica, replicas=2) for replica in range(2)]
    assert digest(results[0].outputs[0]) != digest(results[1].outputs[0])
    ids = training.prepared[0].bundle()["rows"]
    (_, count, whole), *_ = rounds.ledger(ids)
    parts: Any = [result.summary["ledger"] for result in results]
    assert sum(part[0][1] for part in parts) == count == 100
    assert sum(int(part[0][2], 16) for part in parts) % 2**64 == int(whole, 16)


def test_a_process_that_has_other_threads_says_that_it_is_unsuited(tmp_path: Path) -> None:
    training = make("dnn", tmp_path)
    state = training.start()
    with pytest.raises(Unsuited, match="1 threads"):
        training.local(state, threads=2)


def test_a_warm_process_traces_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make("dnn", tmp_path)
    outcome, _ = training.epochs(1)
    monkeypatch.setattr("tensorfleet.neural.stages.Network.__init__", lambda *given: pytest.fail("made anew"))
    state = training.keep(outcome.outputs[0])
    training.local(state)
    training.given |= {"learning_rate": 0.1, "batch_size": 8, "schedule": "cosine", "epochs": 3, "class_weight": None}
    training.local(state)
    assert len(runtime._kept) == 1


def test_a_state_is_plain_arrays(tmp_path: Path) -> None:
    state = bundle.load(make("dnn", tmp_path).start().path)
    assert set(state) == {"version", "weights", "velocity", "target", "statistics"}
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in state["weights"])
    assert [state["weights"][place].shape for place in state["statistics"]] == [(12,)] * 2
