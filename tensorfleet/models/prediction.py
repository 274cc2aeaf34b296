"""Predicts with a model: single rows of a request, or the blocks of a dataset.

The rule: what a model is made of is its framework's to know; here it is an object that takes raw rows, a DataFrame of
its features or the pixels of its images, and computes with the task's threads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tensorfleet import bundle
from tensorfleet.data.sources import FILE
from tensorfleet.errors import BadInput
from tensorfleet.models import frameworks
from tensorfleet.models import manifest as manifests
from tensorfleet.models.manifest import Manifest
from tensorfleet.operators import Context, Input, Operator, Outcome

if TYPE_CHECKING:
    import pyarrow as pa


class Model(Struct, frozen=True):
    """A model put together: its manifest, its decoded preparation, and the fitted object."""

    manifest: Manifest
    preparation: dict[str, Any]
    fitted: Any

    def rows(self, columns: Sequence[str] | None, listed: Sequence[Sequence[Any]]) -> Any:
        """A request's rows as the fitted object takes them."""
        if image := self.preparation.get("image"):
            from tensorfleet.data import image_rows

            return image_rows.of_request(columns, listed, image["column"], image["shape"])
        from tensorfleet.data import rows

        return rows.frame(columns, listed, self.manifest.features, self.preparation.get("types", []))

    def block(self, path: Path) -> Any:
        """A block's rows as the fitted object takes them."""
        if image := self.preparation.get("image"):
            from tensorfleet.data import image_rows

            return image_rows.of_block(path, image["column"], image["shape"])
        import pyarrow as pa

        from tensorfleet.data import rows

        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            return rows.of_table(table, self.manifest.features, self.preparation.get("types", []))

    def files(self, path: Path) -> list[str] | None:
        """The files that a block's rows were, where they are images and were files."""
        from tensorfleet.data import images

        return images.files(path) if self.preparation.get("image") else None


def model(inputs: Sequence[Input], digests: Sequence[str], threads: int) -> Model:
    """The model of its blobs, the manifest first. digests: of the same blobs, in the same order."""
    paths = dict(zip(digests, inputs, strict=True))
    manifest = manifests.read(inputs[0].bundle())
    fitted = frameworks.assemble(manifest, lambda digest: paths[digest].content(), threads)
    return Model(manifest, paths[manifest.preparation].bundle(), fitted)


def predict_rows(context: Context) -> Outcome:
    """Predicts a request's rows.

    Parameters: model, the digests of its blobs. Inputs: those blobs, then {"columns", "rows", "probabilities"}. Output:
    {"predictions", "probabilities", "classes"}, plain lists. BadInput for rows that the model cannot take.
    """
    asked = context.inputs[-1].bundle()
    ready = model(context.inputs[:-1], _digests(context), context.threads)
    rows = ready.rows(asked["columns"], asked["rows"])
    labels = ready.fitted.predict(rows) if len(rows) else []
    probabilities = None
    if asked["probabilities"]:
        if not hasattr(ready.fitted, "predict_proba"):
            raise BadInput(f"a {ready.manifest.algorithm} gives no probabilities", reason="NO_PROBABILITIES")
        probabilities = ready.fitted.predict_proba(rows).tolist() if len(rows) else []
    answer = {
        "predictions": [_plain(label) for label in labels],
        "probabilities": probabilities,
        "classes": [_plain(label) for label in getattr(ready.fitted, "classes_", [])],
    }
    return Outcome([bundle.encode(answer)], {"rows": len(rows)})


def predict_block(context: Context) -> Outcome:
    """Predicts a block of a dataset.

    Parameters: model, the digests of its blobs. Inputs: those blobs, then the block. Output: an Arrow IPC stream with
    the columns `file`, of images that were files, `prediction` and, where the model has them, `probability_CLASS`.
    """
    import pyarrow as pa

    ready = model(context.inputs[:-1], _digests(context), context.threads)
    block = context.inputs[-1].path
    table = _predictions(ready.fitted, ready.block(block), ready.files(block))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return Outcome([[memoryview(sink.getvalue())]], {"rows": table.num_rows})


def _predictions(fitted: Any, rows: Any, files: Sequence[str] | None) -> "pa.Table":
    import pyarrow as pa

    columns = {} if files is None else {FILE: pa.array(files, pa.string())}
    columns["prediction"] = pa.array(fitted.predict(rows))
    if hasattr(fitted, "predict_proba"):
        said = fitted.predict_proba(rows)
        for index, label in enumerate(fitted.classes_):
            columns[f"probability_{label}"] = pa.array(said[:, index])
    return pa.table(columns)


def _digests(context: Context) -> list[str]:
    return list(context.params["model"])  # type: ignore[arg-type]


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


OPERATORS: dict[str, Operator] = {"predict.rows@1": predict_rows, "predict.block@1": predict_block}
