"""`python -m orchestrator`: serves a fleet over a home directory until it is told to stop."""

import argparse
import os
import signal
import sys
from pathlib import Path

from orchestrator.app import LEADER_LEASE, Options, serve
from orchestrator.core.state import Settings
from orchestrator.garbage import Keep
from tensorfleet import logs
from tensorfleet.config import settings, span
from tensorfleet.errors import TensorFleetError
from tensorfleet.loops import run
from tensorfleet.processes import die_with_parent, open_many_files, spare_the_collector
from tensorfleet.rpc.servers import IN_FLIGHT_BYTES


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    default, keep = Settings(), Keep()
    parser = argparse.ArgumentParser(prog="orchestrator", description="Accepts jobs and has workers run them.")
    parser.add_argument("--home", type=Path, help="stores, lock and address; default: TENSORFLEET_HOME")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: any that is free")
    parser.add_argument("--insecure", action="store_true", help="listen beyond this machine without TLS and tokens")
    parser.add_argument("--standby", action="store_true", help="wait while another leads, and take over after it")
    parser.add_argument("--advertise", default="", metavar="HOST:PORT", help="where others reach it; default: --listen")
    parser.add_argument("--leader-lease", type=float, default=LEADER_LEASE, help="seconds it leads unheard of")
    parser.add_argument("--lease", type=float, default=default.lease, help="seconds a silent worker is believed")
    parser.add_argument("--grace", type=float, default=default.grace, help="seconds to come back after a broken stream")
    parser.add_argument("--restart-grace", type=float, default=default.restart_grace, help="the same after a restart")
    kept = parser.add_argument_group("garbage", "What goes, and when; a TIME is such as 90s, 15min, 2h or 7d.")
    kept.add_argument("--collect-every", type=span, default=keep.every, metavar="TIME", help="0: only when asked to")
    kept.add_argument("--blob-grace", type=span, default=keep.grace, metavar="TIME", help="a new blob is left alone")
    kept.add_argument(
        "--keep-outputs", type=span, default=keep.outputs, metavar="TIME", help="of jobs, after their end"
    )
    kept.add_argument("--keep-results", type=span, default=keep.results, metavar="TIME", help="known ones, after a use")
    kept.add_argument("--result-bytes", type=int, default=keep.result_bytes, help="of all known results, at most")
    parser.add_argument("--max-jobs", type=int, default=default.max_jobs, help="queued and running; more must wait")
    parser.add_argument(
        "--max-request-bytes", type=int, default=IN_FLIGHT_BYTES, help="of requests served at once; more must wait"
    )
    parser.add_argument("--parent-death", action="store_true", help="stop when the process that started it ends")
    return parser.parse_args(given)


def main() -> None:
    given = arguments()
    if given.parent_death:
        die_with_parent(os.getppid(), signal.SIGTERM)
    try:
        environment = settings()
        logs.configure(environment.log_level)
        open_many_files()
        spare_the_collector()
        patience = Settings(
            lease=given.lease,
            heartbeat=given.lease / 3,
            max_jobs=given.max_jobs,
            grace=given.grace,
            restart_grace=given.restart_grace,
        )
        home = (given.home or environment.home).absolute()
        options = Options(
            home=home,
            listen=given.listen,
            documents=environment.documents,
            objects=environment.objects,
            insecure=given.insecure,
            in_flight_bytes=given.max_request_bytes,
            standby=given.standby,
            advertise=given.advertise,
            leader_lease=given.leader_lease,
            settings=patience,
            keep=Keep(
                every=given.collect_every,
                grace=given.blob_grace,
                outputs=given.keep_outputs,
                results=given.keep_results,
                result_bytes=given.result_bytes,
            ),
        )
        run(serve(options))
    except TensorFleetError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
