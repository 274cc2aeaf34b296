"""A model's manifest: what its content is, without its trees or weights, which stay in the parts that tasks made.

The rule: it says nothing of when, where or by which release it was made, so its SHA-256 is the model's.
"""

from typing import Any

from msgspec import Struct, convert
from msgspec.structs import asdict

FORMAT = 1


class Manifest(Struct, frozen=True, kw_only=True):
    """algorithm, goal: as in the catalog. estimator: a qualified class name, the first of which is the framework.
    parameters: every one of them. features: raw columns, in order. classes: as text, for people. preparation: the
    digest of {"transformer", ...}. parts: digests, in order, of what the framework's module puts together. shell: what
    is around the parts: the state of an ensemble without its members, a network's labels; None where the one part is
    the whole. members: the ensemble's lists that the parts hold.
    """

    format: int = FORMAT
    algorithm: str
    goal: str
    estimator: str
    parameters: dict[str, Any]
    features: list[str]
    target: str
    classes: list[str]
    preparation: str
    shell: Any = None
    members: list[str] = []
    parts: list[str]

    def tree(self) -> dict[str, Any]:
        """For `bundle.encode`."""
        return asdict(self)


def read(tree: Any) -> Manifest:
    """The manifest of a decoded bundle. Raises ValueError where it is none, or of a later format."""
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise ValueError("not a model's manifest of this release")
    return convert(tree, Manifest)
