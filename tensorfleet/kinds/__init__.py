"""The kinds of job, each a plan.

The rule: a plan is pure and imports no numerics; what its tasks compute is in operators.
"""

from tensorfleet import catalog
from tensorfleet.errors import FailedPrecondition
from tensorfleet.kinds.predict import PredictPlan
from tensorfleet.kinds.process import ProcessPlan
from tensorfleet.kinds.train import TrainPlan
from tensorfleet.model import JobKind, JobSpec
from tensorfleet.plan import Plan

_PLANS: dict[JobKind, Plan] = {
    JobKind.TRAIN: TrainPlan(),
    JobKind.PREDICT: PredictPlan(),
    JobKind.PROCESS: ProcessPlan(),
}


def plan_for(spec: JobSpec) -> Plan:
    """The plan of a spec's kind, or its algorithm's own. FailedPrecondition where this release has none."""
    own = catalog.own_plan(spec) if spec.kind is JobKind.TRAIN else None
    plan = own or _PLANS.get(spec.kind)
    if plan is None:
        raise FailedPrecondition(f"this release cannot run jobs of kind {spec.kind}", reason="KIND_UNSUPPORTED")
    return plan
