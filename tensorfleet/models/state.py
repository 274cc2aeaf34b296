"""Fitted estimators as plain data for a bundle, and back.

The rule: nothing is called on the word of what is read. A class is used only if it is on the lists below, functions
never, and what cannot be said in these terms is refused. Equal estimators give equal bytes: attributes go by name, and
versions, shared references and memory's leftovers are left out.

A tuple in the plain data is a tagged value: its first item tells what the others are.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

FORMED = re.compile(r"sklearn(\.[A-Za-z_][A-Za-z0-9_]*)+")

PLAIN = re.compile(
    r"sklearn\._loss\.loss\.(HalfSquaredError|AbsoluteError|PinballLoss|HuberLoss|HalfPoissonLoss|HalfGammaLoss"
    r"|HalfTweedieLoss|HalfTweedieLossIdentity|HalfBinomialLoss|HalfMultinomialLoss|ExponentialLoss)"
    r"|sklearn\._loss\.link\.(Interval|IdentityLink|LogLink|LogitLink|HalfLogitLink|MultinomialLogit)"
    r"|sklearn\.ensemble\._hist_gradient_boosting\.predictor\.TreePredictor"
    r"|scipy\.sparse\._cs[rc]\.cs[rc]_(matrix|array)"
)
"""Python classes that are nothing but their attributes; estimators of scikit-learn's are too."""

MADE = re.compile(r"sklearn\._loss\._loss\.Cy[A-Za-z]+")
"""Compiled classes that their arguments say all about."""

STATEFUL = re.compile(
    r"sklearn\.neighbors\._(kd_tree\.KDTree|ball_tree\.BallTree|kd_tree\.KDTree(32|64)|ball_tree\.BallTree(32|64))"
    r"|sklearn\.metrics\._dist_metrics\.[A-Za-z]+Distance(32|64)?"
)
"""Compiled classes that `__setstate__` fills."""

TREE = "sklearn.tree._tree.Tree"
SCALARS = re.compile(r"numpy\.(bool|u?int(8|16|32|64)|float(16|32|64)|str_|object_)")
BITS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


class Refused(TypeError):  # noqa: N818
    """Something that is not on the lists."""


def dump(value: Any) -> Any:
    """Plain data for `bundle.encode`. Raises Refused for what is not on the lists, with its name."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if type(value) is list:
        return [dump(item) for item in value]
    if type(value) is tuple:
        return ("tuple", *(dump(item) for item in value))
    if type(value) is dict:
        return {_key(name): dump(item) for name, item in value.items()}
    if isinstance(value, set | frozenset):
        return (type(value).__name__, *sorted((dump(item) for item in value), key=repr))
    if type(value) is slice:
        return ("slice", dump(value.start), dump(value.stop), dump(value.step))
    return _dump_object(value)


def restore(tree: Any) -> Any:
    """What `dump` was given. Its arrays are copies, so that they can be written to and outlive the file.

    Raises Refused where the data names anything that is not on the lists.
    """
    import numpy as np

    if isinstance(tree, np.ndarray):
        return np.array(tree, order="K")
    if isinstance(tree, list):
        return [restore(item) for item in tree]
    if isinstance(tree, dict):
        return {restore(name): restore(item) for name, item in tree.items()}
    if isinstance(tree, tuple):
        if not tree or not isinstance(tree[0], str) or tree[0] not in _RESTORE:
            raise Refused(f"not an estimator's state: unknown tag {tree[:1]!r}")
        return _RESTORE[tree[0]](*tree[1:])
    return tree


def _key(name: Any) -> Any:
    plain = dump(name)
    if isinstance(plain, list | dict):
        raise Refused(f"a name that is a {type(name).__name__}")
    return plain


def _dump_object(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return ("objects", value.shape, *(dump(item) for item in value.ravel()))
        return np.asarray(value)
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.generic | np.dtype):
        return value
    if isinstance(value, np.random.RandomState):
        return ("random_state", dump(value.get_state(legacy=False)))
    if isinstance(value, np.random.Generator):
        return ("generator", dump(value.bit_generator.state))
    if isinstance(value, type):
        return ("class", _allowed_name(value))
    return _dump_instance(value)


def _dump_instance(value: Any) -> Any:
    name = _name(type(value))
    if name == TREE:
        _, (features, classes, outputs), held = value.__reduce__()
        return ("tree", features, classes, outputs, {key: held[key] for key in sorted(held)})
    if MADE.fullmatch(name):
        made, arguments, *_ = value.__reduce__()
        return ("made", name, *(dump(item) for item in (arguments if made is type(value) else ())))
    if STATEFUL.fullmatch(name):
        return ("stateful", name, dump(value.__getstate__()))
    if PLAIN.fullmatch(name) or _is_estimator(type(value)):
        held = vars(value)
        return ("object", name, {key: dump(held[key]) for key in sorted(held)})
    raise Refused(f"a model cannot hold a {name}")


def _is_estimator(kind: type) -> bool:
    from sklearn.base import BaseEstimator

    return FORMED.fullmatch(_name(kind)) is not None and issubclass(kind, BaseEstimator)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _allowed_name(kind: type) -> str:
    name = _name(kind)
    if SCALARS.fullmatch(name) or _is_estimator(kind):
        return name
    raise Refused(f"a model cannot hold the class {name}")


def _class(name: str, listed: Callable[[str], bool]) -> Any:
    """The class of a name that is on a list; a name must be where its class says it is, so aliases lead nowhere."""
    if not isinstance(name, str) or not listed(name):
        raise Refused(f"a model cannot hold a {name}")
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise Refused(f"this release of scikit-learn has no {name}") from error
    if not isinstance(kind, type) or _name(kind) != name:
        raise Refused(f"a model cannot hold a {name}")
    return kind


def _restored_object(name: str, held: Any) -> Any:
    plain = isinstance(name, str) and PLAIN.fullmatch(name) is not None
    kind = _class(name, lambda name: plain or FORMED.fullmatch(name) is not None)
    if not plain and not _is_estimator(kind):
        raise Refused(f"a model cannot hold a {name}")
    made = kind.__new__(kind)
    vars(made).update({str(key): restore(item) for key, item in held.items()})
    return made


def _restored_class(name: str) -> Any:
    kind = _class(name, lambda name: bool(SCALARS.fullmatch(name) or FORMED.fullmatch(name)))
    _allowed_name(kind)
    return kind


def _restored_tree(features: int, classes: Any, outputs: int, held: dict[str, Any]) -> Any:
    # The tree copies its nodes and values by itself.
    tree = _class(TREE, lambda name: name == TREE)(int(features), restore(classes), int(outputs))
    tree.__setstate__(held)
    return tree


def _restored_stateful(name: str, held: Any) -> Any:
    kind = _class(name, lambda name: STATEFUL.fullmatch(name) is not None)
    made = kind.__new__(kind)
    made.__setstate__(restore(held))
    return made


def _restored_made(name: str, *arguments: Any) -> Any:
    return _class(name, lambda name: MADE.fullmatch(name) is not None)(*(restore(item) for item in arguments))


def _restored_objects(shape: Any, *items: Any) -> Any:
    import numpy as np

    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = restore(item)
    return array.reshape([int(length) for length in shape])


def _restored_random_state(held: Any) -> Any:
    import numpy as np

    random = np.random.RandomState()
    random.set_state(restore(held))
    return random


def _restored_generator(held: Any) -> Any:
    import numpy as np

    state = restore(held)
    if state.get("bit_generator") not in BITS:
        raise Refused(f"a model cannot hold a {state.get('bit_generator')}")
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


_RESTORE: dict[str, Callable[..., Any]] = {
    "tuple": lambda *items: tuple(restore(item) for item in items),
    "set": lambda *items: {restore(item) for item in items},
    "frozenset": lambda *items: frozenset(restore(item) for item in items),
    "slice": lambda *ends: slice(*(restore(end) for end in ends)),
    "objects": _restored_objects,
    "class": _restored_class,
    "object": _restored_object,
    "tree": _restored_tree,
    "made": _restored_made,
    "stateful": _restored_stateful,
    "random_state": _restored_random_state,
    "generator": _restored_generator,
}
