"""What of a task's libraries takes seconds to load, and which tasks do without.

The rule: it is loaded in the background, in steps, so that whoever loads can answer between two of them.
"""

import gc
import importlib
import sys
from collections import deque

BARE = ("tensorfleet.execution", "threadpoolctl")
"""What every task needs; it is loaded before the first slot is forked."""
STEPS = (
    *("numpy", "scipy.linalg", "scipy.sparse.linalg", "scipy.special", "scipy.optimize", "scipy.ndimage"),
    *("scipy.interpolate", "scipy.integrate", "scipy.stats", "pyarrow.ipc", "pandas", "joblib", "sklearn.utils"),
    *("sklearn.metrics", "sklearn.tree", "sklearn.ensemble", "sklearn.datasets", "sklearn.impute", "sklearn.compose"),
    *("sklearn.model_selection", "sklearn.pipeline", "sklearn.preprocessing"),
)
"""What nearly every training needs, in steps of at most 0.3 seconds. The rest is imported by the task that needs it."""
FAMILIES_WITHOUT = frozenset({"noop"})
"""The families of operators that use none of it."""


SLOW = ("tensorflow",)
"""Libraries that take seconds to load, of which a process is forked with none."""


def slow_to_load() -> bool:
    """Whether this process has loaded what takes seconds to load."""
    return not sys.modules.keys().isdisjoint(SLOW)


def needed_by(operator: str) -> bool:
    """Whether an operator, by its name, uses numerics: one that nobody knows does."""
    return operator.partition(".")[0] not in FAMILIES_WITHOUT


class Loading:
    """Numerics on their way into this process."""

    def __init__(self) -> None:
        self._left = deque(STEPS)

    @property
    def done(self) -> bool:
        return not self._left

    def step(self) -> None:
        """Loads some more."""
        load([self._left.popleft()])


def prepare() -> None:
    """Finds, once for all that are forked from here on, what each would else look for: the package's operators, and the
    thread pools of the libraries."""
    from tensorfleet import catalog, execution

    catalog.operator("noop.run@1")
    execution.find_pools()
    gc.freeze()


def load(modules: tuple[str, ...] | list[str]) -> None:
    """Imports modules, and has the collector never look at them again: that would copy the pages that forked processes
    share. One that is missing is left to the task that needs it to say so."""
    gc.disable()
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"worker: could not preload {name}: {error}", file=sys.stderr)
    gc.freeze()
    gc.enable()
