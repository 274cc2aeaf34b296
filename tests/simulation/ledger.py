"""What the journal says happened, kept apart from the core's own state, so that the two can be held together.

The rule: it looks at durable records alone.
"""

from collections.abc import Callable

from orchestrator.core import records as r
from tensorfleet.model import JobSpec, JobState, Ref


class Ledger:
    """Counts results by (job, life, stage, index); a life begins with a job's acceptance, or when it begins again."""

    def __init__(self, stages: Callable[[JobSpec], list[tuple[str, int]]]) -> None:
        """stages: of a job that succeeds, each with its count of tasks that must have results."""
        self._stages = stages
        self.holders: dict[int, str] = {}
        self.lives: dict[str, int] = {}
        self.specs: dict[str, JobSpec] = {}
        self.live: set[str] = set()
        self.ended: set[str] = set()
        self.results: dict[tuple[str, int, str, int], str] = {}
        self.tokens: set[int] = set()
        self.open: dict[int, tuple[str, str, int]] = {}
        self.reports: dict[int, int] = {}
        self.paused: set[str] = set()
        self.stopped: dict[str, str] = {}
        self.opened: dict[str, list[str]] = {}
        self.saved: dict[tuple[str, int, str, int], Ref] = {}

    def keep(self, record: r.Record) -> None:
        match record:
            case r.JobAccepted():
                assert record.job not in self.live, f"{record.job} was accepted while it ran"
                self._begin(record.job)
                self.specs[record.job] = record.spec
                self.live.add(record.job)
            case r.JobRestarted():
                assert record.job in self.live, f"{record.job} is over, and began again"
                self._begin(record.job)
            case r.JobPaused():
                assert record.job in self.live - self.paused, f"{record.job} was paused, and cannot be"
                self.paused.add(record.job)
            case r.JobResumed():
                self.paused.remove(record.job)
            case r.JobStopped():
                assert record.job in self.live - self.stopped.keys(), f"{record.job} was stopped, and cannot be"
                self.stopped[record.job] = record.after
                if record.dropped:
                    assert self.opened[record.job].pop() == record.dropped
                    self.open = {
                        token: place for token, place in self.open.items() if place[:2] != (record.job, record.dropped)
                    }
            case r.StageOpened():
                assert record.job not in self.paused, f"{record.job} is paused, and {record.stage} was opened"
                self.opened[record.job].append(record.stage)
            case r.AttemptSaved():
                assert self.open[record.token] == (record.job, record.stage, record.index)
                self.saved[record.job, self.lives[record.job], record.stage, record.index] = record.saved
            case r.TasksAssigned():
                assert record.job in self.live, f"{record.job} is over, and {record.indexes} were assigned"
                assert record.job not in self.paused, f"{record.job} is paused, and {record.indexes} were assigned"
                assert record.indexes, "nothing was assigned"
                for token, index in enumerate(record.indexes, record.token):
                    assert token not in self.tokens, f"token {token} was used twice"
                    self.tokens.add(token)
                    self.open[token] = (record.job, record.stage, index)
                    self.holders[token] = record.worker
                    self._unknown(record.job, record.stage, index)
            case r.Reported():
                last = self.reports.get(record.token, 0)
                assert record.number == last + 1, f"report {record.number} of {record.token} came after {last}"
                self.reports[record.token] = record.number
            case r.TasksSucceeded():
                self._succeeded(record)
            case r.StageChecked():
                for known in record.known:
                    self._count(record.job, record.stage, known.index, "known")
            case r.AttemptFailed() | r.AttemptReleased():
                # Streams keep their order, and what was not acknowledged is said again: no report can be missing.
                assert getattr(record, "reason", "") != "REPORTS_LOST"
                assert self.open.pop(record.token) == (record.job, record.stage, record.index)
            case r.JobEnded():
                self._ended(record)

    def _succeeded(self, record: r.TasksSucceeded) -> None:
        assert len(record.tokens) == len(record.indexes) == len(record.seconds)
        for column in (record.keys, record.results, record.last_reports):
            assert len(column) in (0, len(record.tokens))
        for place, (token, index) in enumerate(zip(record.tokens, record.indexes, strict=True)):
            last = record.last_reports[place] if record.last_reports else 0
            assert last == self.reports.get(token, 0), f"reports of {token} are missing"
            assert self.open.pop(token) == (record.job, record.stage, index)
            assert self.holders[token] == record.worker
            self._count(record.job, record.stage, index, f"token {token}")

    def _begin(self, job: str) -> None:
        self.lives[job] = self.lives.get(job, 0) + 1
        self.opened[job] = []
        self.open = {token: place for token, place in self.open.items() if place[0] != job}

    def _unknown(self, job: str, stage: str, index: int) -> None:
        place = (job, self.lives[job], stage, index)
        assert place not in self.results, f"{place} is done, and was assigned"

    def _count(self, job: str, stage: str, index: int, by: str) -> None:
        self._unknown(job, stage, index)
        assert job in self.live, f"a result of {job}, which is over, was counted"
        self.results[job, self.lives[job], stage, index] = by

    def _ended(self, record: r.JobEnded) -> None:
        assert record.job in self.live, f"{record.job} ended twice"
        self.live.discard(record.job)
        self.ended.add(record.job)
        self.paused.discard(record.job)
        stopped = self.stopped.pop(record.job, None)
        self.open = {token: place for token, place in self.open.items() if place[0] != record.job}
        if record.state == JobState.SUCCEEDED:
            wanted = {(name, index) for name, count in self._stages(self.specs[record.job]) for index in range(count)}
            life = self.lives[record.job]
            had = {(stage, index) for job, at, stage, index in self.results if (job, at) == (record.job, life)}
            names, opened = [name for name, _ in self._stages(self.specs[record.job])], self.opened[record.job]
            if stopped is None:
                assert opened == names, f"{record.job} went through {opened}"
            else:  # stages may have been left out since, but not the last
                assert not stopped or stopped in opened, f"{record.job} ended before {stopped}, and had been there"
                assert opened == [*names[: len(opened) - 1], names[-1]], f"{record.job} went through {opened}"
                wanted = {place for place in wanted if place[0] in opened}
            assert had >= wanted, f"{record.job} succeeded without {wanted - had}"

    def saved_of(self, job: str, stage: str, index: int) -> Ref | None:
        """What the attempts at a task have saved last."""
        return self.saved.get((job, self.lives[job], stage, index))
