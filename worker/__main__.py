"""`python -m worker`: joins an orchestrator and works for it.

The rule: the zygote is started before anything slow is imported, so that it comes up while the agent gets ready.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from tensorfleet.processes import die_with_parent, spare_the_collector
from worker.launch import Zygote, launch_zygote, shared_zygote

MOST_HELD = 16_384
"""Tasks that a worker holds unless told otherwise; the orchestrator sends as many ahead as half a second's work."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker", description="Joins an orchestrator and runs its tasks.")
    parser.add_argument("--server", required=True, help="the orchestrator's host:port; a standby's too, with commas")
    parser.add_argument("--slots", type=_positive, default=len(os.sched_getaffinity(0)), help="tasks at a time")
    parser.add_argument("--credit", type=_positive, help="tasks held at a time, running and fetched ahead")
    parser.add_argument("--label", type=_label, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--id", help="the worker's name, kept over its lives")
    parser.add_argument("--home", type=Path, help="where it keeps its cache; default: worker in TENSORFLEET_HOME")
    parser.add_argument("--max-tasks-per-child", type=int, default=0, help="tasks of one slot process; 0: no limit")
    parser.add_argument("--memory-limit", type=int, default=0, metavar="BYTES", help="of one task; 0: no limit")
    parser.add_argument("--hold", type=float, default=30.0, metavar="SECONDS", help="that a paused task keeps its slot")
    parser.add_argument(
        "--rest", type=float, default=600.0, metavar="SECONDS", help="that an idle process keeps TensorFlow loaded"
    )
    parser.add_argument("--zygote", type=int, metavar="DESCRIPTOR", help="a socket to the process that forks its slots")
    parser.add_argument("--parent-death", action="store_true", help="leave when the process that started it ends")
    return parser.parse_args(given)


def main() -> None:
    options = arguments()
    if options.parent_death:
        die_with_parent(os.getppid(), signal.SIGTERM)
    zygote = launch_zygote() if options.zygote is None else shared_zygote(options.zygote)
    try:
        code = _work(options, zygote)
    finally:
        zygote.connection.close()
    sys.exit(code)


def _work(options: argparse.Namespace, zygote: Zygote) -> int:
    import tensorfleet
    from tensorfleet import logs
    from tensorfleet.config import settings
    from tensorfleet.loops import run
    from tensorfleet.rpc.addresses import split
    from worker import resources
    from worker.agent import Agent, Options
    from worker.contact import first_contact
    from worker.protocol import Identity
    from worker.slots import Limits, Slots

    environment = settings()
    logs.configure(environment.log_level)
    spare_the_collector()
    machine = resources.machine()
    incarnation = os.urandom(8).hex()
    who = Identity(
        worker_id=options.id or f"{socket.gethostname()}-{os.getpid()}-{incarnation[:6]}",
        incarnation=incarnation,
        slots=options.slots,
        credit=max(options.credit or min(options.slots * 4096, MOST_HELD), options.slots),
        resources=machine,
        labels=dict(options.label),
        capabilities=tuple(resources.capabilities()),
        fingerprint=resources.fingerprint(),
        pid=os.getpid(),
        host=socket.gethostname(),
        release=tensorfleet.__version__,
    )
    limits = Limits(
        slots=options.slots,
        memory=options.memory_limit,
        max_tasks=options.max_tasks_per_child,
        gpus=machine.gpus,
        rest=options.rest,
    )
    home = (options.home or environment.home / "worker").absolute()

    async def work() -> int:
        chosen = Options(servers=split(options.server), home=home, hold=options.hold)
        slots = Slots(limits, zygote)
        agent = Agent(chosen, who, slots)
        if not await first_contact(chosen.servers):
            await slots.close()
            return 0
        return await agent.run()

    return run(work())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError("expected KEY=VALUE")
    return key, value


if __name__ == "__main__":
    main()
