"""What a person would write with Keras and no fleet: `fit` in one process, and a MultiWorkerMirroredStrategy.

The rule: a program of its own for each measurement, which prints samples a second, once it is warm.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

UNITS = (512, 256)
FEATURES, CLASSES = 784, 10


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.neural.plain", description=__doc__)
    parser.add_argument("what", choices=("fit", "strategy"))
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2, help="after one that warms up")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--members", type=int, default=2, help="processes of a strategy")
    return parser.parse_args(given)


def run(what: str, **options: int) -> float:
    """Samples a second of such a program."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "bench.neural.plain", what, *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def fit(options: argparse.Namespace) -> float:
    """Samples a second of `keras.Model.fit`."""
    import keras

    _threads(options.threads)
    X, y = rows(options.rows)
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert isinstance(model, keras.Model)
    return warm(
        lambda epochs: model.fit(X, y, batch_size=options.batch, epochs=epochs, verbose=0), options.epochs, options.rows
    )


def strategy(options: argparse.Namespace) -> float:
    """Samples a second of a MultiWorkerMirroredStrategy, in which this process is the first member."""
    if "TF_CONFIG" in os.environ:
        return member(options)
    addresses = [f"127.0.0.1:{port}" for port in ports(options.members)]
    members = []
    for place in range(options.members):
        setting = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": place}}
        members.append(
            subprocess.Popen(
                [sys.executable, "-m", "bench.neural.plain", *sys.argv[1:]],
                env={**os.environ, "TF_CONFIG": json.dumps(setting)},
                stdout=subprocess.PIPE,
            )
        )
    said = [process.communicate()[0] for process in members]
    return float(json.loads(said[0].splitlines()[-1]))


def member(options: argparse.Namespace) -> float:
    """One member, whose step is its own: `fit` raises under this strategy in Keras 3."""
    import keras
    import numpy as np
    import tensorflow as tf

    _threads(options.threads)
    ring = tf.distribute.experimental.CommunicationImplementation.RING
    over = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=tf.distribute.experimental.CommunicationOptions(implementation=ring)
    )
    place, batch = over.cluster_resolver.task_id, options.batch // options.members
    X, y = (part[place :: options.members] for part in rows(options.rows))
    with over.scope():
        model = network()
        optimizer = keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
    measure = keras.losses.SparseCategoricalCrossentropy(reduction="sum")

    def stepped(x: Any, labels: Any) -> Any:
        def own(x: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = measure(labels, model(x, training=True)) / options.batch
            gradients = tape.gradient(loss, model.trainable_variables)
            # It adds up the members' gradients itself.
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        return over.run(own, args=(x, labels))

    step = tf.function(stepped)

    drawn = np.random.default_rng(place)

    def epochs(count: int) -> None:
        for _ in range(count):
            order = drawn.permutation(len(X))
            for start in range(0, len(X) - batch + 1, batch):
                places = order[start : start + batch]
                step(X[places], y[places])

    return warm(epochs, options.epochs, len(X) // batch * options.batch)  # it leaves out what fills no batch


def warm(train: Callable[[int], object], epochs: int, rows: int) -> float:
    """Samples a second, after an epoch that is not counted."""
    train(1)
    begun = perf_counter()
    train(epochs)
    return rows * epochs / (perf_counter() - begun)


def network() -> Any:
    import keras

    hidden = [keras.layers.Dense(units, activation="relu") for units in UNITS]
    return keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(CLASSES, activation="softmax")])


def rows(count: int) -> tuple[Any, Any]:
    import numpy as np

    drawn = np.random.default_rng(0)
    return drawn.standard_normal((count, FEATURES), dtype=np.float32), drawn.integers(0, CLASSES, count)


def ports(count: int) -> Iterator[int]:
    """Free ones, of this machine."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    for server in held:
        yield server.getsockname()[1]
        server.close()


def _threads(count: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = arguments()
    print(json.dumps({"fit": fit, "strategy": strategy}[options.what](options)))


if __name__ == "__main__":
    main()
