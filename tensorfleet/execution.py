"""Runs one operator: the one way for a worker's slot and for `--direct`.

The rule: the same operator, parameters, inputs and threads leave the same files, wherever this runs. So threads are
pinned here, and nowhere else; and an operator never sees in which order names came, which no key knows of either.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from tensorfleet import catalog
from tensorfleet.model import Ref, Value
from tensorfleet.operators import Alone, Context, Control, Input, Output, Written

_PLAIN = (str, int, float, type(None))
ALONE = Alone()


class Execution(Struct, frozen=True):
    """What a task left: a file for each output, in the operator's order, and its summary."""

    files: tuple[tuple[Ref, Path], ...]
    summary: dict[str, Value]


class Pools:
    """The thread pools of the numeric libraries, held to a number of threads until that changes or they are let go."""

    def __init__(self) -> None:
        self._in_force = (0, 0)
        self._limiter: Any = None

    def hold(self, threads: int) -> None:
        """Pins them; they are looked for again once more modules, and so libraries, are loaded."""
        wanted = (threads, len(sys.modules))
        if wanted == self._in_force:
            return
        self.let_go()
        self._limiter = find_pools().limit(limits=threads)
        self._in_force = (threads, len(sys.modules))

    def let_go(self) -> None:
        """They have as many threads again as they had before."""
        if self._limiter is not None:
            self._limiter.restore_original_limits()
        self._limiter, self._in_force = None, (0, 0)


def find_pools() -> Any:
    """The thread pools of the libraries that are loaded here; a process that is forked has them from its parent."""
    import threadpoolctl  # noqa: F401 -- before modules are counted

    return _pools_of(len(sys.modules))


@lru_cache(maxsize=1)
def _pools_of(modules: int) -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def execute(
    operator: str,
    params: Mapping[str, Value],
    inputs: Sequence[Path],
    threads: int,
    report: Callable[[str, int, float], None],
    out: str,
    pools: Pools,
    control: Control = ALONE,
    saved: Path | None = None,
) -> Execution:
    """Runs an operator by name and writes its outputs into the folder `out`, as files `0`, `1` and so on.

    report: takes each point while the operator runs. pools: held to `threads`, also afterwards. control, saved: as of
    a context. Raises what the operator raises; BadInput for unusable data.
    """
    run = catalog.operator(operator)
    ordered = {name: _ordered(params[name]) for name in sorted(params)}
    context = Context(
        params=ordered,
        inputs=[Input(path) for path in inputs],
        report=report,
        threads=threads,
        control=control,
        saved=Input(saved) if saved is not None else None,
        folder=out,
    )
    pools.hold(threads)
    outcome = run(context)
    if not outcome.outputs:
        return Execution((), dict(outcome.summary))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / str(index) for index in range(len(outcome.outputs))]
    files = tuple((_kept(output, place), place) for output, place in zip(outcome.outputs, places, strict=True))
    return Execution(files, dict(outcome.summary))


def _ordered(value: Value) -> Value:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return value


def _kept(output: Output | Written, path: Path) -> Ref:
    """An output's digest and size, once it is the file at `path`."""
    if not isinstance(output, Written):
        return written(output, path)
    output.path.rename(path)
    return output.ref


def written(output: Output, path: Path) -> Ref:
    """Writes an output to a file; its digest and size."""
    import hashlib  # a large library, which what has no outputs does without

    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for buffer in output:
            digest.update(buffer)
            size += file.write(buffer)
    return Ref(digest.hexdigest(), size)
