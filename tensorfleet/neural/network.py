"""A trained network with what prepares its rows, as an object with scikit-learn's methods.

The rule: TensorFlow is imported when it first computes, and not before; until then it is bytes and plain data, so it
can be fetched, pickled and written as a `.keras` file where there is none.
"""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from tensorfleet import bundle
from tensorfleet.counts import counted
from tensorfleet.errors import BadInput, FailedPrecondition
from tensorfleet.models import state
from tensorfleet.models.frameworks import Read
from tensorfleet.models.manifest import Manifest
from tensorfleet.neural import keeping

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

BATCH = 256
"""Rows that are computed at a time."""
PIXELS = 2**22
"""The most pixels at a time."""


def assemble(manifest: Manifest, read: Read, threads: int | None = None) -> "Network":
    """The network of a manifest; see `frameworks.assemble`."""
    preparation = bundle.decode(read(manifest.preparation))
    return Network(
        file=bytes(read(manifest.parts[0])),
        features=manifest.features,
        types=list(preparation.get("types", [])),
        labels=manifest.shell["labels"],
        image=preparation.get("image"),
        transformer=None if preparation.get("image") else state.restore(preparation["transformer"]),
        threads=threads,
    )


def write(network: "Network", format: str, file: BinaryIO, threads: int | None = None) -> None:
    """As a `.keras` file, as a zipped SavedModel, or as a pickle; see `frameworks.write`."""
    if format == "keras":
        file.write(network.file)
    elif format == "pickle":
        pickle.dump(network, file, protocol=5)
    else:
        network.threads = threads or network.threads
        file.write(keeping.saved_model(network.model, keeping.beside(network.file)))


class Network:
    """A trained network. `predict` and, for a classifier, `predict_proba` take raw rows: a DataFrame, a list of
    mappings, or rows in the order of `feature_names_in_`; of images, an array of pixels (n, h, w[, c]) from 0 to 255,
    or the files' paths.

    file: the `.keras` file. types: of the features. labels: what the classes are, in the order of the probabilities;
    None for a regressor. image: what the preparation says of images, for a network that takes such. transformer:
    scikit-learn's that prepares rows. threads: to compute with; without them as TensorFlow has them in this process.
    """

    def __init__(
        self,
        *,
        file: bytes,
        features: Sequence[str],
        types: Sequence[str],
        labels: Any,
        image: Mapping[str, Any] | None,
        transformer: Any,
        threads: int | None = None,
    ) -> None:
        import numpy as np

        self.file, self.types, self.threads = file, list(types), threads
        self.labels = None if labels is None else np.array(labels)
        self.image: dict[str, Any] | None = None
        if image is not None:
            self.image = {"column": str(image["column"]), "shape": list(image["shape"])}
        self.transformer = transformer
        self.feature_names_in_ = np.array(list(features), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        self._made: tuple[Any, Any] | None = None

    def __repr__(self) -> str:
        takes = counted(self.n_features_in_, "column")
        if self.image is not None:
            takes = f"images of {' x '.join(map(str, self.image['shape']))}"
        gives = "a number" if self.labels is None else f"one of {len(self.labels)} classes"
        return f"<network: {takes}, {gives}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": None, "threads": None}

    @property
    def classes_(self) -> "Array":
        """The labels, in the order of the probabilities; a regressor has none."""
        if self.labels is None:
            raise AttributeError("a network that predicts a number has no classes_")
        return self.labels

    @property
    def model(self) -> Any:
        """The `keras.Model`, which takes prepared rows."""
        return self._ready()[0]

    def _ready(self) -> tuple[Any, Any]:
        """The `keras.Model`, and the same compiled for batches of any size. On a worker the process keeps the last one,
        by its file's digest, for the tasks that follow."""
        if self._made is None:
            try:
                if self.threads is None:
                    self._made = _read(self.file)
                else:
                    from tensorfleet.neural import runtime

                    runtime.start(self.threads)
                    key = ("network", hashlib.sha256(self.file).digest())
                    self._made = runtime.compiled(key, lambda: _read(self.file))
            except ImportError as error:
                raise FailedPrecondition(
                    "this model is a network of Keras, which is not installed here; "
                    "`pip install 'tensorfleet[tensorflow]'` brings it",
                    reason="NEEDS_TENSORFLOW",
                ) from error
        return self._made

    def predict(self, X: Any) -> "Array":
        """The class of each row, or its number, (n,)."""
        said = self.outputs(self.prepared(X))
        if self.labels is None:
            return said.reshape(len(said)).astype("float64")
        return self.labels.take(said.argmax(axis=1))  # type: ignore[no-any-return]

    @property
    def predict_proba(self) -> Any:
        """`predict_proba(X)`: probabilities (n, classes). AttributeError for a regressor."""
        if self.labels is None:
            raise AttributeError("a network that predicts a number gives no probabilities")
        return lambda X: self.outputs(self.prepared(X)).astype("float64")

    def prepared(self, X: Any) -> "Array":
        """Raw rows as the network takes them: (n, columns) of 32 bits, or pixels (n, h, w, c). BadInput for rows that
        it cannot take."""
        if self.image is not None:
            from tensorfleet.data import image_rows

            return image_rows.of_any(X, self.image["column"], self.image["shape"])
        from tensorfleet.data import preprocessing

        return preprocessing.matrix(self.transformer, self._frame(X), single=True)

    def outputs(self, prepared: "Array") -> "Array":
        """What the network says of prepared rows, batch by batch: (n, outputs)."""
        import numpy as np

        model, compute = self._ready()
        batch = max(1, min(BATCH, PIXELS // max(1, int(np.prod(prepared.shape[1:])))))
        given = (prepared[start : start + batch] for start in range(0, len(prepared), batch))
        said = [compute(rows.astype(model.inputs[0].dtype)).numpy() for rows in given]
        return np.concatenate([np.empty((0, *model.output_shape[1:]), np.float32), *said])

    def _frame(self, X: Any) -> Any:
        import numpy as np
        import pandas as pd

        from tensorfleet.data import rows

        features = [str(name) for name in self.feature_names_in_]
        if isinstance(X, pd.DataFrame):
            import pyarrow as pa

            known = X[[name for name in features if name in X.columns]]
            return rows.frame(None, pa.Table.from_pandas(known, preserve_index=False), features, self.types)
        if isinstance(X, np.ndarray) and X.dtype.kind in "fiub":
            if X.ndim != 2 or X.shape[1] != len(features):
                expected = f"expected rows of {len(features)} numbers, shape (n, {len(features)})"
                raise BadInput(f"{expected}, got an array of shape {X.shape}", reason="ROW_MALFORMED")
            return pd.DataFrame(X.astype(np.float64), columns=pd.Index(features, dtype=object))
        listed = list(X)
        if listed and isinstance(listed[0], Mapping):
            columns = list(dict.fromkeys(str(name) for row in listed for name in row))
            return rows.frame(columns, [[row.get(name) for name in columns] for row in listed], features, self.types)
        return rows.frame(None, [list(row) for row in listed], features, self.types)


def _read(file: bytes) -> tuple[Any, Any]:
    import tensorflow as tf

    model = keeping.read(file)
    given = tf.TensorSpec((None, *model.input_shape[1:]), model.inputs[0].dtype)
    return model, tf.function(lambda rows: model(rows, training=False), input_signature=[given])
