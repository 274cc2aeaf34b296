"""Failures that are nobody's attempt: a plan that raises, a name that is taken, a task that has failed and whose job
does not know yet.
"""

from orchestrator.core.state import OpenStage, Status
from tensorfleet.errors import AlreadyExists
from tensorfleet.model import Cause, Failure, JobSpec

INTERNAL = 13
UNKNOWN = 2


def plan_failed(error: Exception) -> Failure:
    """A plan is a plugin's code: its bug ends its job, not the orchestrator."""
    return Failure(cause=Cause.EXCEPTION, reason="PLAN_FAILED", message=f"the plan failed: {error!r}", code=INTERNAL)


def name_taken(spec: JobSpec) -> Failure:
    """What was read cannot be added under the name that was asked for."""
    error = other_content(spec.dataset_name)
    return Failure(cause=Cause.BAD_INPUT, reason=error.reason, message=error.message, code=error.code)


def other_content(name: str) -> AlreadyExists:
    """A dataset's name that stands for something else."""
    return AlreadyExists(f"there is a dataset {name!r} with other content: choose another name, or --replace it")


def failed_task(stage: OpenStage) -> Failure | None:
    """The failure of a stage's task that failed for good; None where none did.

    A job normally ends in the same step. It can outlive that only where the step took two journal entries, and the
    process died between them.
    """
    index = stage.status.find(Status.FAILED)
    if index < 0:
        return None
    history = tuple(stage.history.get(index, ()))
    message = history[-1].message if history else "its history is lost"
    name = stage.stage.name
    return Failure(
        cause=(history[-1].cause if history else None) or Cause.EXCEPTION,
        reason="TASK_FAILED",
        message=f"task {index} of stage {name} failed: {message}",
        code=UNKNOWN,
        stage=name,
        index=index,
        attempts=history,
    )
