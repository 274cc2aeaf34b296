"""The worker's half of the session's messages: protos to the worker's own values, and back.

The rule: nothing else in the worker builds or reads these messages.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from tensorfleet import wire
from tensorfleet.api.v1 import values_pb2, worker_pb2
from tensorfleet.model import Resources, Value
from worker.messages import Blob, Members, Order, OrderInput, Work
from worker.outbox import Batch, Ended, Holdings
from worker.reports import Report

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
    if batch.saved:
        saved = [worker_pb2.SavedAttempt(token=token, saved=_output(blob)) for token, blob in batch.saved]
        said.append(worker_pb2.WorkerMessage(session=session, saved=worker_pb2.Saved(attempts=saved)))
    if batch.ready:
        members = [worker_pb2.GangMember(token=token, address=address) for token, address in batch.ready]
        said.append(worker_pb2.WorkerMessage(session=session, gang_ready=worker_pb2.GangReady(members=members)))
    if batch.ended or batch.succeeded:
        results = [_result(ended) for ended in batch.ended]
        finished = worker_pb2.Finished(results=results, succeeded=batch.succeeded, seconds=batch.seconds)
        said.append(worker_pb2.WorkerMessage(session=session, finished=finished))
    return said


def orders(assign: worker_pb2.Assign) -> list[Order]:
    """InvalidRequest where a parameter has no value."""
    found: list[Order] = []
    for item in assign.assignments:
        work = Work(
            operator=item.operator,
            params=wire.values_from_proto(item.params, "params"),
            threads=max(item.threads, 1),
            timeout=wire.duration_seconds(item.timeout),
        )
        if item.own:
            found += [Order(token, _own(work, own)) for token, own in zip(item.tokens, item.own, strict=True)]
        else:
            found += [Order(token, work) for token in item.tokens]
    return found


def _own(work: Work, own: worker_pb2.Own) -> Work:
    """What all of an assignment's attempts run, with what one of them has of its own."""
    saved = OrderInput(wire.ref_from_proto(own.saved.ref), own.saved.inline) if own.HasField("saved") else None
    if not (own.params or own.inputs or saved):
        return work
    return Work(
        operator=work.operator,
        params={**work.params, **wire.values_from_proto(own.params, "params")} if own.params else work.params,
        inputs=tuple([OrderInput(wire.ref_from_proto(item.ref), item.inline) for item in own.inputs]),
        threads=work.threads,
        timeout=work.timeout,
        saved=saved,
    )


def members(roster: worker_pb2.Roster) -> Members:
    return Members(roster.place, tuple(roster.addresses))


def report_acks(acks: Iterable[worker_pb2.ReportAck]) -> dict[int, int]:
    return {ack.token: ack.number for ack in acks}


def _report(report: Report) -> worker_pb2.Report:
    return worker_pb2.Report(
        token=report.token,
        number=report.number,
        points=wire.points_to_proto(report.points),
        lines=[wire.line_to_proto(line) for line in report.lines],
    )


def _result(ended: Ended) -> worker_pb2.AttemptResult:
    ending = ended.ending
    return worker_pb2.AttemptResult(
        token=ended.token,
        outputs=map(_output, ending.outputs),
        summary=_summary(ending.summary),
        cause=wire.cause_to_proto(ending.cause),
        reason=ending.reason,
        message=ending.message,
        log_tail=ending.log_tail,
        last_report=ended.last_report,
        duration=wire.duration(ending.duration),
        ended_at=wire.timestamp(ending.ended_at or None),
        started=ended.started,
        gave_up=ending.gave_up,
        saved=_output(ending.saved) if ending.saved is not None else None,
    )


def _output(blob: Blob) -> worker_pb2.Output:
    return worker_pb2.Output(ref=wire.ref_to_proto(blob.ref), inline=blob.inline)


def _summary(summary: Mapping[str, Value]) -> dict[str, values_pb2.Value]:
    return {name: wire.value_to_proto(value) for name, value in summary.items()}
