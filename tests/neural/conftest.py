"""TensorFlow in the process of the tests."""

import pytest

from tensorfleet.neural import runtime


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Whichever test comes first: a model that is loaded as users do it would start it with all of the machine's, and
    operators that are run here after that would refuse to compute."""
    runtime.start(1)
