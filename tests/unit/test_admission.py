"""Ids of jobs: one each, however many come in one millisecond."""

from orchestrator.admission import new_job_id


def test_no_two_jobs_share_an_id() -> None:
    ids = [new_job_id() for _ in range(200_000)]
    assert len(set(ids)) == len(ids)
