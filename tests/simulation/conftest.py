"""What simulations leave is collected when they are over, and not in the middle of a later test."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def swept() -> Iterator[None]:
    """A simulated process that was killed ends when it is collected: within CPython's parser that is an error of it."""
    yield
    gc.collect()
