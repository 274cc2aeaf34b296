"""Datasets: where they come from, how they are stored, and how they become the matrices that a model is fitted on.

The rule: whatever the orchestrator asks of a dataset (`sources`, `checks`, the plain parts of `manifest`) needs no
numerics; what reads rows imports NumPy, Arrow and scikit-learn when it is first called.
"""

from collections.abc import Mapping

from tensorfleet.operators import Context, Operator, Outcome


def _ingest(context: Context) -> Outcome:
    from tensorfleet.data.ingest import ingest

    return ingest(context)


def _prepare(context: Context) -> Outcome:
    from tensorfleet.data.prepare import prepare

    return prepare(context)


OPERATORS: Mapping[str, Operator] = {"data.ingest@1": _ingest, "data.prepare@1": _prepare}
