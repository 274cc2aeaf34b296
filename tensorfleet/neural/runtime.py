"""TensorFlow in this process: how it is started, and the model that it has compiled.

The rule: what computes is settled before TensorFlow is imported, and is the same in every process; a process remembers
only what saves time, and nothing that could show in an output.
"""

import os
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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
_kept: dict[Hashable, Any] = {}


def start(threads: int) -> None:
    """Has TensorFlow compute with so many threads, and draw nothing that no seed decides.

    Raises Unsuited where it has other threads already, which it keeps for the life of a process.
    """
    global _threads
    if _threads == threads:
        return
    if _threads:
        raise Unsuited(f"TensorFlow has {_threads} threads in this process, and the task takes {threads}")
    os.environ.update(ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what TensorFlow itself imports
        import keras
        import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise Unsuited("TensorFlow was started in this process by another, with threads of its own") from error
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    tf.config.experimental.enable_op_determinism()
    # A person's own ~/.keras/keras.json would else decide.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.disable_traceback_filtering()
    _threads = threads


def compiled(key: Hashable, build: Callable[[], T]) -> T:
    """What `build` gives, or gave before for an equal key: the last one is kept. The key says all that it depends on."""
    if key not in _kept:
        forget()
        _kept[key] = build()
    return _kept[key]  # type: ignore[no-any-return]


def forget() -> None:
    """Lets go of what was compiled, with the memory of TensorFlow that it holds."""
    if not _kept:
        return
    import gc

    import keras

    _kept.clear()
    keras.utils.clear_session(free_memory=False)
    gc.collect()


@contextmanager
def memory_told() -> Iterator[None]:
    """Has TensorFlow's own error for too little memory end as Python's does."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(error.message.partition("\n")[0]) from error
