"""The worker's half of the session's messages: protos to the worker's own values, and back.

The rule: nothing else in the worker builds or reads these messages.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from tensorfleet import wire
from tensorfleet.api.v1 import values_pb2, worker_pb2
from tensorfleet.model import Points, Resources, Value
from worker.messages import Order, OrderInput
from worker.state import Batch, Ended, Holdings, Report

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


class Identity(Struct, frozen=True, kw_only=True):
    """Who the worker is and what it has; the same for all its sessions."""

    worker_id: str
    incarnation: str
    slots: int
    credit: int
    resources: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    fingerprint: str = ""
    pid: int = 0
    host: str = ""
    release: str = ""


class Vitals(Struct, frozen=True):
    """What a heartbeat tells; slots are pairs of process and token, 0 for an idle one."""

    load: float
    memory: int
    slots: tuple[tuple[int, int], ...]
    cached: tuple[str, ...] = ()
    unfit: str = ""


def hello(who: Identity, holdings: Holdings, cached: Iterable[str]) -> worker_pb2.WorkerMessage:
    message = worker_pb2.Hello(
        worker_id=who.worker_id,
        incarnation=who.incarnation,
        protocol_min=PROTOCOL_MIN,
        protocol_max=PROTOCOL_MAX,
        slots=who.slots,
        credit=who.credit,
        resources=worker_pb2.WorkerResources(
            cpus=who.resources.cpus, memory_bytes=who.resources.memory, gpus=who.resources.gpus
        ),
        labels=who.labels,
        capabilities=who.capabilities,
        fingerprint=who.fingerprint,
        held=[worker_pb2.HeldAttempt(token=token, started=started) for token, started in holdings.held],
        finished=[_result(ended) for ended in holdings.ended],
        cached_digests=cached,
        pid=who.pid,
        host=who.host,
        release=who.release,
    )
    return worker_pb2.WorkerMessage(hello=message)


def heartbeat(session: int, vitals: Vitals) -> worker_pb2.WorkerMessage:
    slots = [worker_pb2.SlotStatus(pid=pid, token=token) for pid, token in vitals.slots]
    message = worker_pb2.Heartbeat(
        load=vitals.load,
        memory_bytes=vitals.memory,
        slots=slots,
        cached_digests=vitals.cached,
        unfit=vitals.unfit,
    )
    return worker_pb2.WorkerMessage(session=session, heartbeat=message)


def messages(session: int, batch: Batch) -> list[worker_pb2.WorkerMessage]:
    """A batch as the messages to send, in order."""
    said: list[worker_pb2.WorkerMessage] = []
    if batch.leaving:
        leaving = worker_pb2.Leaving(reason=batch.leaving)
        said.append(worker_pb2.WorkerMessage(session=session, leaving=leaving))
    if batch.started:
        started = [worker_pb2.StartedAttempt(token=token, pid=pid) for token, pid in batch.started]
        said.append(worker_pb2.WorkerMessage(session=session, started=worker_pb2.Started(attempts=started)))
    if batch.released:
        released = worker_pb2.Released(tokens=batch.released)
        said.append(worker_pb2.WorkerMessage(session=session, released=released))
    if batch.reports:
        reports = worker_pb2.Reports(reports=[_report(report) for report in batch.reports])
        said.append(worker_pb2.WorkerMessage(session=session, reports=reports))
    if batch.ended:
        finished = _finished(batch.ended)
        said.append(worker_pb2.WorkerMessage(session=session, finished=finished))
    return said


def orders(assignment: worker_pb2.Assignment) -> list[Order]:
    """InvalidRequest where a parameter has no value."""
    params = wire.values_from_proto(assignment.params, "params")
    threads, timeout = max(assignment.threads, 1), wire.duration_seconds(assignment.timeout)
    job, stage, operator = assignment.job_id, assignment.stage, assignment.operator
    found = []
    for place, (token, index) in enumerate(zip(assignment.tokens, assignment.indexes, strict=True)):
        own = assignment.own[place] if assignment.own else None
        found.append(
            Order(
                token=token,
                operator=operator,
                job=job,
                stage=stage,
                index=index,
                params=params | wire.values_from_proto(own.params, "params") if own and own.params else params,
                inputs=tuple(OrderInput(wire.ref_from_proto(item.ref), item.inline) for item in own.inputs)
                if own
                else (),
                threads=threads,
                timeout=timeout,
            )
        )
    return found


def report_acks(acks: Iterable[worker_pb2.ReportAck]) -> dict[int, int]:
    return {ack.token: ack.number for ack in acks}


def _report(report: Report) -> worker_pb2.Report:
    return worker_pb2.Report(
        token=report.token,
        number=report.number,
        points=wire.points_to_proto(Points.of(report.points)),
        lines=[wire.line_to_proto(line) for line in report.lines],
    )


def _finished(ended: Iterable[Ended]) -> worker_pb2.Finished:
    finished = worker_pb2.Finished()
    for one in ended:
        ending = one.ending
        if ending.cause is None and not (ending.outputs or ending.summary or one.last_report):
            finished.succeeded.append(one.token)
            finished.seconds.append(ending.duration)
        else:
            finished.results.append(_result(one))
    return finished


def _result(ended: Ended) -> worker_pb2.AttemptResult:
    ending = ended.ending
    return worker_pb2.AttemptResult(
        token=ended.token,
        outputs=[worker_pb2.Output(ref=wire.ref_to_proto(blob.ref), inline=blob.inline) for blob in ending.outputs],
        summary=_summary(ending.summary),
        cause=wire.cause_to_proto(ending.cause),
        reason=ending.reason,
        message=ending.message,
        log_tail=ending.log_tail,
        last_report=ended.last_report,
        duration=wire.duration(ending.duration),
        ended_at=wire.timestamp(ending.ended_at or None),
        started=ended.started,
    )


def _summary(summary: Mapping[str, Value]) -> dict[str, values_pb2.Value]:
    return {name: wire.value_to_proto(value) for name, value in summary.items()}
