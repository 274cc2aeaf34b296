"""Predicts with a model: single rows of a request, or the blocks of a dataset.

The rule: one thread adds up an ensemble's members, in their order; with more, scikit-learn adds them as they come.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tensorfleet import bundle
from tensorfleet.errors import BadInput
from tensorfleet.models import manifest as manifests
from tensorfleet.models import pipeline
from tensorfleet.models.manifest import Manifest
from tensorfleet.operators import Context, Input, Operator, Outcome

if TYPE_CHECKING:
    import pyarrow as pa


class Model(Struct, frozen=True):
    """A model put together: its manifest, the types of its features, and the fitted Pipeline."""

    manifest: Manifest
    types: list[str]
    pipe: Any


def model(inputs: Sequence[Input], digests: Sequence[str]) -> Model:
    """The model of its blobs, the manifest first. digests: of the same blobs, in the same order."""
    paths = dict(zip(digests, inputs, strict=True))
    manifest = manifests.read(inputs[0].bundle())
    pipe = pipeline.assemble(manifest, lambda digest: paths[digest].bundle())
    if "n_jobs" in pipe[-1].get_params(deep=False):
        pipe[-1].set_params(n_jobs=1)
    return Model(manifest, list(paths[manifest.preparation].bundle().get("types", [])), pipe)


def predict_rows(context: Context) -> Outcome:
    """Predicts a request's rows.

    Parameters: model, the digests of its blobs. Inputs: those blobs, then {"columns", "rows", "probabilities"}. Output:
    {"predictions", "probabilities", "classes"}, plain lists. BadInput for rows that the model cannot take.
    """
    from tensorfleet.data import rows

    digests, asked = _digests(context), context.inputs[-1].bundle()
    ready = model(context.inputs[:-1], digests)
    frame = rows.frame(asked["columns"], asked["rows"], ready.manifest.features, ready.types)
    labels = ready.pipe.predict(frame) if len(frame) else []
    probabilities = None
    if asked["probabilities"]:
        if not hasattr(ready.pipe, "predict_proba"):
            raise BadInput(f"a {ready.manifest.algorithm} gives no probabilities", reason="NO_PROBABILITIES")
        probabilities = ready.pipe.predict_proba(frame).tolist() if len(frame) else []
    answer = {
        "predictions": [_plain(label) for label in labels],
        "probabilities": probabilities,
        "classes": [_plain(label) for label in getattr(ready.pipe[-1], "classes_", [])],
    }
    return Outcome([bundle.encode(answer)], {"rows": len(frame)})


def predict_block(context: Context) -> Outcome:
    """Predicts a block of a dataset.

    Parameters: model, the digests of its blobs. Inputs: those blobs, then the block. Output: an Arrow IPC stream with
    the columns `prediction` and, where the model has them, `probability_CLASS`.
    """
    import pyarrow as pa

    from tensorfleet.data import rows

    digests = _digests(context)
    ready = model(context.inputs[:-1], digests)
    with pa.memory_map(str(context.inputs[-1].path)) as file:
        block = pa.ipc.open_file(file).read_all()
        frame = rows.of_table(block, ready.manifest.features, ready.types)
        table = _predictions(ready.pipe, frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return Outcome([[memoryview(sink.getvalue())]], {"rows": table.num_rows})


def _predictions(pipe: Any, frame: Any) -> "pa.Table":
    import pyarrow as pa

    columns = {"prediction": pa.array(pipe.predict(frame))}
    if hasattr(pipe, "predict_proba"):
        said = pipe.predict_proba(frame)
        for index, label in enumerate(pipe[-1].classes_):
            columns[f"probability_{label}"] = pa.array(said[:, index])
    return pa.table(columns)


def _digests(context: Context) -> list[str]:
    return list(context.params["model"])  # type: ignore[arg-type]


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


OPERATORS: dict[str, Operator] = {"predict.rows@1": predict_rows, "predict.block@1": predict_block}
