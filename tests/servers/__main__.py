"""`python -m tests.servers start | stop | env`: the servers that the tests talk to, in `.servers/` of the checkout."""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.servers import builds, programs
from tests.servers.running import FILE, PLACE, Running, running


def start() -> None:
    if running() is not None:
        sys.stdout.write("the servers are running\n")
        return
    stop()
    builds.grpcurl()
    servers = (
        programs.durable_mongo(PLACE / "ferretdb"),
        programs.quick_mongo(PLACE / "mongo-java"),
        programs.s3(PLACE / "versitygw"),
    )
    try:
        for server in servers:
            server.start()
    except BaseException:
        for server in servers:
            server.kill()
        raise
    durable, quick, objects = servers
    told = Running(
        durable_mongo=durable.url,
        quick_mongo=quick.url,
        s3=objects.url,
        access_key=programs.ACCESS_KEY,
        secret_key=programs.SECRET_KEY,
        processes=[server.process.pid for server in servers if server.process is not None],
    )
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    sys.stdout.write(f"{durable.name} at {durable.url}, {quick.name} at {quick.url}, {objects.name} at {objects.url}\n")


def stop() -> None:
    """Ends them, with all that they kept."""
    if FILE.exists():
        told = msgspec.json.decode(FILE.read_bytes(), type=Running)
        for process in told.processes:
            if _is_ours(process):
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
        while any(_is_ours(process) for process in told.processes):
            time.sleep(0.02)
    shutil.rmtree(PLACE, ignore_errors=True)


def env() -> None:
    """Prints what makes a shell's programs use these servers: `eval "$(python -m tests.servers env)"`."""
    there = running()
    if there is None:
        sys.exit("the servers are not running: `make servers`")
    values = {
        "MONGODB_URL": there.quick_mongo,
        "MONGODB_DB": "tensorfleet",
        "S3_ENDPOINT_URL": there.s3,
        "S3_BUCKET": "tensorfleet",
        "AWS_ACCESS_KEY_ID": there.access_key,
        "AWS_SECRET_ACCESS_KEY": there.secret_key,
        "AWS_REGION": "us-east-1",
        "PATH": f"{builds.grpcurl().parent}:{os.environ['PATH']}",
    }
    sys.stdout.writelines(f"export {name}='{value}'\n" for name, value in values.items())


def _is_ours(process: int) -> bool:
    """Whether the process still lives and is not another that took its number."""
    with suppress(OSError):
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return Path(f"/proc/{process}/cwd").resolve().is_relative_to(PLACE.resolve()) and state != "Z"
    return False


def main() -> None:
    habits = {"start": start, "stop": stop, "env": env}
    if len(sys.argv) != 2 or sys.argv[1] not in habits:
        sys.exit(f"usage: python -m tests.servers {' | '.join(habits)}")
    try:
        habits[sys.argv[1]]()
    except builds.BuildError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
