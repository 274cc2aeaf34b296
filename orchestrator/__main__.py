"""`python -m orchestrator`: serves a fleet over a home directory until it is told to stop."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from orchestrator.app import Options, serve
from orchestrator.core.state import Settings
from tensorfleet import logs
from tensorfleet.config import settings
from tensorfleet.errors import TensorFleetError
from tensorfleet.processes import die_with_parent


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(prog="orchestrator", description="Accepts jobs and has workers run them.")
    parser.add_argument("--home", type=Path, help="stores, lock and address; default: TENSORFLEET_HOME")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: any that is free")
    parser.add_argument("--insecure", action="store_true", help="listen beyond this machine without TLS and tokens")
    parser.add_argument("--lease", type=float, default=default.lease, help="seconds a silent worker is believed")
    parser.add_argument("--grace", type=float, default=default.grace, help="seconds to come back after a broken stream")
    parser.add_argument("--restart-grace", type=float, default=default.restart_grace, help="the same after a restart")
    parser.add_argument("--parent-death", action="store_true", help="stop when the process that started it ends")
    return parser.parse_args(given)


def main() -> None:
    given = arguments()
    if given.parent_death:
        die_with_parent(os.getppid(), signal.SIGTERM)
    try:
        environment = settings()
        logs.configure(environment.log_level)
        patience = Settings(
            lease=given.lease,
            heartbeat=given.lease / 5,
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
            settings=patience,
        )
        asyncio.run(serve(options))
    except TensorFleetError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
