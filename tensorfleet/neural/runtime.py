"""TensorFlow in this process: how it is started, and the model that it has compiled.

The rule: what computes is settled before TensorFlow is imported, and is the same in every process; a process remembers
only what saves time, and nothing that could show in an output.
"""

import gc
import os
import re
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tensorfleet.errors import BadInput
from tensorfleet.operators import Unsuited

ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "KERAS_BACKEND": "tensorflow",
}
"""oneDNN's kernels are part of what a result depends on; they compute half as much again in the same time."""

T = TypeVar("T")

_threads = 0
_apart = False
_kept: dict[Hashable, Any] = {}


def start(threads: int, *, apart: bool = False) -> None:
    """Has TensorFlow compute with so many threads, and draw nothing that no seed decides.

    apart: for a task that makes this process one of several that compute together, which it is then until it ends.
    Raises Unsuited where it has other threads already, which it keeps for the life of a process, or where it is, or
    cannot become any more, one of several.
    """
    global _threads, _apart
    if _apart or (apart and _threads):
        raise Unsuited("TensorFlow in this process is one of several that compute together, or can no longer be")
    if _threads == threads:
        return
    if _threads:
        raise Unsuited(f"TensorFlow has {_threads} threads in this process, and the task takes {threads}")
    os.environ.update(ENVIRONMENT)
    with _quiet():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(2 if apart else 1)
    except RuntimeError as error:
        raise Unsuited("TensorFlow was started in this process by another, with threads of its own") from error
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")  # it warns of models that were made one after another
    # A person's own ~/.keras/keras.json would else decide.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.disable_traceback_filtering()
    _threads, _apart = threads, apart


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what TensorFlow says of the machine while it is loaded: warnings, lines on standard error."""
    sys.stderr.flush()
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def compiled(key: Hashable, build: Callable[[], T]) -> T:
    """What `build` gives, or what is kept for an equal key, which says all that it depends on."""
    if key not in _kept:
        keep(key, build())
    return _kept[key]  # type: ignore[no-any-return]


def keep(key: Hashable, made: Any) -> None:
    """Keeps what was made for a key, unless it is there, and lets go of what was kept for another."""
    if key not in _kept:
        _kept.clear()
        gc.collect()  # models are in cycles, and large
        _kept[key] = made


@contextmanager
def errors_told() -> Iterator[None]:
    """Has errors of TensorFlow's end as those that say what they mean."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(_too_much(_said(error))) from error
    except tf.errors.UnimplementedError as error:
        if "determinis" not in str(error):
            raise
        raise BadInput(
            f"the network has an operation that cannot be repeated to the last bit: {_said(error)}",
            reason="NOT_DETERMINISTIC",
        ) from error


def _too_much(said: str) -> str:
    """What there was no room for, in fewer words than TensorFlow's where these are known."""
    found = re.search(r"allocating tensor with shape\[([\d,]+)\] and type (\w+)", said)
    what = f"no room for a tensor of {found[1].replace(',', ' x ')} values ({found[2]})" if found else said
    return f"{what}; take a smaller batch_size or fewer units or filters, or a worker with more memory"


def _said(error: Any) -> str:
    return str(error.message).partition("\n")[0]
