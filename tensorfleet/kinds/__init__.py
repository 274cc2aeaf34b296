"""The kinds of job, each a plan.

The rule: a plan is pure and imports no numerics; what its tasks compute is in operators.
"""

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
    """The plan of a spec's kind. FailedPrecondition where this release has none."""
    plan = _PLANS.get(spec.kind)
    if plan is None:
        raise FailedPrecondition(f"this release cannot run jobs of kind {spec.kind}", reason="KIND_UNSUPPORTED")
    return plan
