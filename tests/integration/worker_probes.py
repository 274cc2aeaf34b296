"""Operators that behave badly on purpose, as a plugin would bring them. Loaded by slots, never by the tests."""

import ctypes
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable

from tensorfleet import bundle
from tensorfleet.errors import BadInput
from tensorfleet.operators import Context, Outcome, Unsuited

ALGORITHMS: tuple[object, ...] = ()


def echo(context: Context) -> Outcome:
    """Gives its inputs back, and tells its parameters and its process."""
    outputs = [[source.path.read_bytes()] for source in context.inputs]
    return Outcome(outputs, {**context.params, "pid": os.getpid(), "threads": context.threads})


def large(context: Context) -> Outcome:
    return Outcome([[b"x" * int(str(context.params["bytes"]))]])


def chatter(context: Context) -> Outcome:
    """Says something in every way there is."""
    print("printed")
    print("to stderr", file=sys.stderr)
    ctypes.CDLL(None).puts(b"from C")
    os.write(2, b"raw bytes \xff\n")
    warnings.warn("mind the gap", UserWarning, stacklevel=1)
    logging.getLogger("probe").warning("logged")
    context.report("loss", 0, 0.5)
    context.report("loss", 1, float("nan"))
    sys.stdout.write("no line end")
    return Outcome()


def say(context: Context) -> Outcome:
    """Prints a text by the bytes, to both streams, where Python does not see it."""
    for _ in range(int(str(context.params["times"]))):
        os.write(1, f"{context.params['text']}\n".encode())
        os.write(2, str(context.params["text"]).encode())
        os.write(2, b"\n")
    return Outcome()


def hush(_: Context) -> Outcome:
    return Outcome()


def flood(context: Context) -> Outcome:
    """Reports as many points as asked for, as fast as it is let."""
    count = int(str(context.params["points"]))
    for step in range(count):
        context.report("flood", step, float(step))
    return Outcome(summary={"count": count})


def fail(_: Context) -> Outcome:
    raise ValueError("this cannot be\nsecond line")


def bad_input(_: Context) -> Outcome:
    raise BadInput("line 3 is broken", reason="CSV_MALFORMED")


def odd_summary(_: Context) -> Outcome:
    return Outcome(summary={"thing": object()})  # type: ignore[dict-item]


def segfault(_: Context) -> Outcome:
    print("last words", flush=True)
    ctypes.string_at(0)
    return Outcome()


def leave(_: Context) -> Outcome:
    os._exit(3)


def system_exit(_: Context) -> Outcome:
    sys.exit(4)


def close_everything(_: Context) -> Outcome:
    os.closerange(3, 1000)
    return sleep(_)


def greedy(_: Context) -> Outcome:
    """Allocates without end."""
    held = []
    while True:
        held.append(bytearray(16 << 20))


def roomy(context: Context) -> Outcome:
    """Allocates as much as it is told to, and gives it back."""
    return Outcome(summary={"bytes": len(bytearray(int(str(context.params["bytes"]))))})


def sleep(context: Context) -> Outcome:
    context.report("began", 0, 1.0)
    while True:
        time.sleep(60)


def stubborn(context: Context) -> Outcome:
    """An endless loop that a polite signal does not end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.report("began", 0, 1.0)
    while True:
        pass


def with_child(context: Context) -> Outcome:
    """Starts a process of its own and waits for it."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    context.report("child", 0, child)
    os.waitpid(child, 0)
    return Outcome()


def draw(_: Context) -> Outcome:
    import random

    import numpy as np

    return Outcome(summary={"python": random.random(), "numpy": float(np.random.random())})


def environment(context: Context) -> Outcome:
    return Outcome(summary={str(name): os.environ.get(str(name)) for name in list(context.params)})


def stepper(context: Context) -> Outcome:
    """Takes so many steps, reports each, and tells the sum of their numbers and where it began."""
    step, total = context.saved.bundle() if context.saved is not None else (0, 0)
    begun, most = step, int(str(context.params["steps"]))
    while step < most:
        total += step
        context.report("step", step, float(total))
        step += 1
        now = (step, total)
        if context.control.between_steps(lambda now=now: bundle.encode(now)):
            break
        time.sleep(float(str(context.params.get("seconds", 0.0))))
    return Outcome([[str(total).encode()]], {"total": total, "begun": begun, "pid": os.getpid()})


def looks(context: Context) -> Outcome:
    """Seconds that a look between two steps takes, at the least of some tries."""
    least = 1.0
    for _ in range(int(str(context.params["tries"]))):
        begun = time.perf_counter()
        for _ in range(1000):
            context.control.between_steps(list)
        least = min(least, (time.perf_counter() - begun) / 1000)
    return Outcome(summary={"seconds": least})


def meeting(context: Context) -> Outcome:
    roster = context.control.meet(str(context.params["address"]))
    return Outcome(summary={"place": roster.place, "addresses": list(roster.addresses)})


def fresh(_: Context) -> Outcome:
    """Runs in a process that has run none such."""
    if os.environ.get("PROBE_RAN"):
        raise Unsuited("one has run here already")
    os.environ["PROBE_RAN"] = "1"
    return Outcome(summary={"pid": os.getpid()})


def load(context: Context) -> Outcome:
    """Has a module loaded by the name that it is told."""
    sys.modules[str(context.params["name"])] = sys
    return Outcome(summary={"pid": os.getpid()})


OPERATORS: dict[str, Callable[[Context], Outcome]] = {
    "probe.echo@1": echo,
    "probe.large@1": large,
    "probe.chatter@1": chatter,
    "probe.say@1": say,
    "probe.hush@1": hush,
    "probe.flood@1": flood,
    "probe.fail@1": fail,
    "probe.bad_input@1": bad_input,
    "probe.odd_summary@1": odd_summary,
    "probe.segfault@1": segfault,
    "probe.leave@1": leave,
    "probe.system_exit@1": system_exit,
    "probe.close_everything@1": close_everything,
    "probe.greedy@1": greedy,
    "probe.roomy@1": roomy,
    "probe.sleep@1": sleep,
    "probe.stubborn@1": stubborn,
    "probe.with_child@1": with_child,
    "probe.draw@1": draw,
    "probe.environment@1": environment,
    "probe.stepper@1": stepper,
    "probe.looks@1": looks,
    "probe.meeting@1": meeting,
    "probe.fresh@1": fresh,
    "probe.load@1": load,
}
