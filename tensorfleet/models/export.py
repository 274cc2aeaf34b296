"""A finished model as the pickle that its user asks for.

The rule: it holds scikit-learn's classes alone, so it loads where TensorFleet is not installed.
"""

import pickle

from tensorfleet.models import manifest, pipeline
from tensorfleet.operators import Context, Operator, Outcome


def export(context: Context) -> Outcome:
    """Parameters: model, the digests of its blobs. Inputs: those blobs. Output: the Pipeline's pickle."""
    digests: list[str] = list(context.params["model"])  # type: ignore[arg-type]
    paths = dict(zip(digests, context.inputs, strict=True))
    described = manifest.read(context.inputs[0].bundle())
    pipe = pipeline.assemble(described, lambda digest: paths[digest].bundle())
    return Outcome([[pickle.dumps(pipe, protocol=5)]])


OPERATORS: dict[str, Operator] = {"model.export@1": export}
