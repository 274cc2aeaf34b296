"""`tensorfleet train --direct`: the same plan in this process alone, with no fleet.

The rule: the model has the SHA-256 that a fleet's would have. It is in no registry; `--out` writes it as a file.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.cli import output
from clients.cli.figures import show_metrics
from clients.cli.live import Lines, Silence, View, Watcher
from clients.cli.options import Options
from clients.cli.progress import epochs_of
from tensorfleet.config import settings
from tensorfleet.counts import counted
from tensorfleet.data import sources
from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation, JobSpec, JobState, Point, Points
from tensorfleet.sdk.events import StageOpened, StateChanged, TaskReported, TasksSucceeded

if TYPE_CHECKING:
    from tensorfleet.direct import DirectResult
    from tensorfleet.plan import Stage


def train_here(spec: JobSpec, at: Options, out: Path | None) -> None:
    """Trains, shows how it went, and writes the model where asked to. InvalidRequest names every bad field."""
    from tensorfleet import catalog, direct
    from tensorfleet.kinds import plan_for
    from tensorfleet.model import Resolved
    from tensorfleet.sdk.plain import weights_file

    spec, violations = catalog.validate(spec)
    violations += [
        FieldViolation(f"spec.{field}", "--direct reads files of this machine; what is kept elsewhere needs a fleet")
        for field in ("dataset", "validation_dataset")
        if sources.is_remote(getattr(spec, field))
    ]
    path = weights_file(spec.model) if spec.model else None
    if spec.model and path is None:
        violations.append(FieldViolation("spec.model", "--direct has no registry to go on from; give a file"))
    if violations:
        raise InvalidRequest(violations)
    objects = (at.home or settings().home) / "objects"
    resolved = Resolved(model=(direct.keep(objects, [path.read_bytes()]),) if path else ())
    began = time.monotonic()
    with _watcher(f"{spec.dataset} · {spec.algorithm}", epochs_of(spec), json=at.json) as watcher:
        told = _Told(watcher, plan_for(spec).total_tasks(spec, resolved))
        result = direct.run(
            spec, resolved, objects=objects, opened=told.opened, report=told.report, finished=told.finished
        )
    _show(spec, result, time.monotonic() - began, at)
    if out is not None:
        _write(result, out)
        output.warn(f"Written to {out}")


class _Told:
    """What happens here, told as the events that a fleet's job would have."""

    def __init__(self, watcher: Watcher, total: int) -> None:
        self._watcher, self._total = watcher, total
        watcher.see(StateChanged(cursor="", job_id="", time=time.time(), state=JobState.RUNNING, reason=""))

    def opened(self, stage: "Stage") -> None:
        total = stage.total or self._total
        self._watcher.see(
            StageOpened(cursor="", job_id="", time=time.time(), stage=stage.name, tasks=stage.count, total_tasks=total)
        )

    def report(self, stage: str, index: int, point: Point) -> None:
        self._watcher.see(
            TaskReported(
                cursor="",
                job_id="",
                time=time.time(),
                stage=stage,
                index=index,
                token=0,
                number=0,
                points=Points.of([point]),
                lines=(),
            )
        )

    def finished(self, stage: str, index: int, result: object) -> None:
        self._watcher.see(
            TasksSucceeded(
                cursor="",
                job_id="",
                time=time.time(),
                stage=stage,
                worker="",
                reused=False,
                indexes=(index,),
                tokens=(0,),
                seconds=(0.0,),
                last_reports=(0,),
            )
        )


@contextmanager
def _watcher(title: str, epochs: int, *, json: bool) -> Iterator[Watcher]:
    console = output.console(stderr=json)
    if not console.is_terminal:
        yield Silence() if json else Lines(title, epochs)
        return
    from rich.live import Live

    view = View(title, epochs=epochs)
    with Live(view, console=console, refresh_per_second=10, transient=True):
        yield view


def _show(spec: JobSpec, result: "DirectResult", seconds: float, at: Options) -> None:
    from tensorfleet import catalog
    from tensorfleet.models.naming import display_name

    done, model = result.result, result.result.model
    assert model is not None  # a train plan ends with one
    shown = display_name(catalog.algorithm(spec.algorithm).display, done.metrics, time.time())
    if at.json:
        told: dict[str, Any] = {
            "job_id": None,
            "state": JobState.SUCCEEDED.value,
            "metrics": done.metrics,
            "missing_metrics": done.missing_metrics,
            "metrics_on_training_rows": model.metrics_on_training_rows,
            "model": {
                "name": spec.model_name,
                "version": None,
                "display_name": shown,
                "algorithm": spec.algorithm,
                "sha256": model.sha256,
            },
            "tasks": {"total": result.tasks, "run": result.tasks, "reused": 0},
            "seconds": seconds,
        }
        output.show_json(told)
        return
    tasks = output.dim(f" ({counted(result.tasks, 'task')})")
    output.say(output.styled("✓", "green"), f" trained here in {output.span(seconds)}", tasks)
    show_metrics(done.metrics, done.missing_metrics, on_training_rows=model.metrics_on_training_rows)
    output.show_facts(
        {"Model": output.line(spec.model_name, output.dim(f"  {shown}, in no registry")), "SHA-256": model.sha256}
    )


def _write(result: "DirectResult", out: Path) -> None:
    from tensorfleet import bundle, direct
    from tensorfleet.models import frameworks, manifest
    from tensorfleet.sdk.models import write_whole

    model = result.result.model
    assert model is not None

    def read(digest: str) -> Any:
        return bundle.mapped(direct.object_path(result.objects, digest))

    described = manifest.read(bundle.decode(read(model.sha256)))
    whole = frameworks.assemble(described, read)
    format = frameworks.chosen(model.framework, frameworks.format_of(out.name), "this model")
    write_whole(out, lambda file: frameworks.write(whole, described.estimator, format, file))
