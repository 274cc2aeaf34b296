"""random_forest, whose ranges of trees take as long as they are told to, so that faults meet them at work.

The rule: what comes out is random_forest's own. Seconds of a range stand in `CAMPAIGN_PACE`; without it none is slow.
"""

import os
import time

from msgspec.structs import replace

from tensorfleet.algorithms import forest
from tensorfleet.operators import Context, Outcome

NAME = "slow_forest"
_FOREST = forest.ALGORITHMS[0]


def fit(context: Context) -> Outcome:
    number = int(str(context.params["start"])) // forest.RANGE
    time.sleep(float(os.environ.get("CAMPAIGN_PACE", "0")) * (1 + number % 3) / 2)
    return forest.fit(replace(context, params={**context.params, "algorithm": _FOREST.name}))


ALGORITHMS = (replace(_FOREST, name=NAME, aliases=(), operator="slow.fit@1", listed=False),)
OPERATORS = {"slow.fit@1": fit}
