"""The stores that a test's fleets use, chosen by the environment as users choose them."""

from contextlib import ExitStack

import pytest

from tensorfleet.config import STORE_VARIABLES
from tests.servers.places import cluster
from tests.servers.running import required


class Stores:
    """Where the fleets of a test keep things. `anew` gives the next fleet of the test empty stores of its own."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, used: ExitStack) -> None:
        self.name = name
        self._monkeypatch = monkeypatch
        self._used = used

    def anew(self) -> None:
        for variable in STORE_VARIABLES:
            self._monkeypatch.delenv(variable, raising=False)
        if self.name == "cluster":
            for variable, value in self._used.enter_context(cluster(required())).items():
                self._monkeypatch.setenv(variable, value)
