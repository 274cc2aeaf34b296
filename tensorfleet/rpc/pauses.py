"""How long to wait before another try, the same for whoever waits for something that is away."""

import random
from collections.abc import Iterator

FIRST_PAUSE = 0.05


def pauses(longest: float, first: float = FIRST_PAUSE) -> Iterator[float]:
    """Seconds before each next try: doubled each time, up to the longest. Up to half of each is left off by chance, so
    that many who wait for the same do not come back together."""
    pause = first
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, longest)
