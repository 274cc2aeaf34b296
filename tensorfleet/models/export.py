"""A finished model as the file that its user asks for: a pickle, a `.keras` file, a SavedModel.

The rule: the formats are the framework's, and so is what a file of each holds.
"""

import io

from tensorfleet import bundle
from tensorfleet.errors import BadInput, InvalidRequest
from tensorfleet.models import frameworks, manifest
from tensorfleet.models.naming import framework_of
from tensorfleet.operators import Context, Operator, Outcome


def export(context: Context) -> Outcome:
    """Parameters: model, the digests of its blobs; format, or nothing for the framework's default. Inputs: those blobs.
    Output: the file. BadInput where there is no such format.
    """
    digests: list[str] = list(context.params["model"])  # type: ignore[arg-type]
    paths = dict(zip(digests, context.inputs, strict=True))
    described = manifest.read(bundle.decode(context.inputs[0].content()))
    name, of = framework_of(described.estimator), f"a model of {described.algorithm}"
    try:
        format = frameworks.chosen(name, str(context.params.get("format") or ""), of)
    except InvalidRequest as error:
        raise BadInput(error.violations[0].description, reason="FORMAT_UNKNOWN") from error
    model = frameworks.assemble(described, lambda digest: paths[digest].content())
    file = io.BytesIO()
    frameworks.write(model, described.estimator, format, file, context.threads)
    return Outcome([[file.getbuffer()]])


OPERATORS: dict[str, Operator] = {"model.export@1": export}
