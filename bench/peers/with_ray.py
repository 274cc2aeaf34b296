"""Ray's part: tasks, actors, and its own pool that packs calls into tasks.

The settings: two processors and as many actors, no dashboard (but for the variant that starts with it), nothing sent
home; all calls made at once and all results fetched in one `ray.get`, which is faster than any smaller portion; calls
go to the actors by turns.
"""

import os
import tempfile
import time
from typing import Any

from bench.peers.sampling import Samples, arguments

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
CHUNK = 64


def start(slots: int, folder: str, *, dashboard: bool = False) -> Any:
    import ray

    ray.init(
        num_cpus=slots,
        include_dashboard=dashboard,
        dashboard_port=0 if dashboard else None,
        _temp_dir=folder,
        log_to_driver=False,
        logging_level="ERROR",
    )
    return ray


def nothing() -> None:
    pass


class Nothing:
    def run(self) -> None:
        pass


def dispatch(samples: Samples, options: Any, ray: Any) -> None:
    from ray.util.multiprocessing import Pool

    task = ray.remote(nothing)
    ray.get([task.remote() for _ in range(500)])
    with samples.counted("tasks", "Ray tasks", options.tasks):
        ray.get([task.remote() for _ in range(options.tasks)])
    for measure in ("jobs", "single_jobs"):
        with samples.counted(measure, "Ray tasks", options.jobs):
            ray.get([task.remote() for _ in range(options.jobs)])
    for _ in range(options.runs):
        with samples.timed("round_trip", "Ray tasks"):
            ray.get(task.remote())

    actors = [ray.remote(Nothing).options(num_cpus=1).remote() for _ in range(options.slots)]
    ray.get([actor.run.remote() for actor in actors for _ in range(200)])
    with samples.counted("tasks", "Ray actors", options.tasks):
        ray.get([actors[index % options.slots].run.remote() for index in range(options.tasks)])
    for _ in range(options.runs):
        with samples.timed("round_trip", "Ray actors"):
            ray.get(actors[0].run.remote())
    for actor in actors:
        ray.kill(actor)

    with Pool(options.slots) as pool:
        pool.map(abs, range(500), chunksize=CHUNK)
        with samples.counted("tasks", f"Ray pool, {CHUNK} calls a task", options.tasks):
            pool.map(abs, range(options.tasks), chunksize=CHUNK)


def forest(samples: Samples, options: Any, ray: Any) -> str:
    from joblib import parallel_config
    from ray.util.joblib import register_ray

    from bench.peers.with_sklearn import fit

    register_ray()
    with parallel_config(backend="ray", n_jobs=options.slots):
        return fit(samples, "joblib on Ray", options)


def main() -> None:
    options, samples = arguments(), Samples()
    answers = ""
    with tempfile.TemporaryDirectory(prefix="ray-bench-") as folder:
        ray = start(options.slots, folder, dashboard=options.variant == "dashboard")
        try:
            if options.part == "start":
                ray.get(ray.remote(nothing).remote())
                samples.first_result("Ray with dashboard" if options.variant else "Ray", options.begun or time.time())
            elif options.part == "dispatch":
                dispatch(samples, options, ray)
            else:
                answers = forest(samples, options, ray)
        finally:
            ray.shutdown()
    samples.tell(version=f"Ray {ray.__version__}", answers=answers)


if __name__ == "__main__":
    main()
