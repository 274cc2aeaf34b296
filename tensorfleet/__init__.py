"""TensorFleet: a small, exact and durable cluster for training models.

`from tensorfleet import Client` is the way in. Names are loaded when they are first used, so that importing the
package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorfleet.client import AsyncClient, Client
    from tensorfleet.errors import TensorFleetError

__all__ = ["AsyncClient", "Client", "TensorFleetError", "__version__"]
__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "tensorfleet.client",
    "Client": "tensorfleet.client",
    "TensorFleetError": "tensorfleet.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tensorfleet' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
