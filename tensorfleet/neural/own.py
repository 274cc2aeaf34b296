"""A user's own architecture: a Keras config as JSON, without code.

The rule: nothing but what Keras itself offers is made from it, and nothing that calls or loads what a user wrote; all
that can be said without Keras is said when a job is submitted.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tensorfleet.errors import BadInput

CODE = {
    "Lambda": "calls a Python function",
    "__lambda__": "is a Python function",
    "TFSMLayer": "loads a program from a file",
    "TorchModuleWrapper": "loads a PyTorch module",
    "JaxLayer": "calls a Python function",
    "FlaxLayer": "calls a Python function",
}

MODELS = ("Sequential", "Functional")


def refusal(text: str) -> str | None:
    """Why an architecture is not taken, as far as its text tells; None where it may be."""
    config = json.loads(text)
    if not isinstance(config.get("class_name"), str) or not isinstance(config.get("config"), dict):
        return "expected a model's config with class_name and config, as `model.to_json()` gives"
    if config["class_name"] not in MODELS:
        return f"expected a model, {' or '.join(MODELS)}, got a {config['class_name']}"
    for item in _objects(config):
        name = _name(item)
        if item["class_name"] in CODE:
            return f"{name} {CODE[item['class_name']]}, which is not run here; use layers of Keras's own"
        module = item.get("module")
        if module is not None and module != "keras" and not str(module).startswith("keras."):
            return f"{name} is from the module {module!r}; use layers of Keras's own"
        if item.get("registered_name") not in (None, item["class_name"]):
            return f"{name} is a class of its user's, {item['registered_name']!r}; use layers of Keras's own"
    return None


def model(text: str, shape: Sequence[int]) -> Any:
    """The model of an architecture, with new weights. shape: of a sample, for one that does not say what it takes.

    BadInput where Keras does not take it.
    """
    from keras.saving import deserialize_keras_object

    reason = refusal(text)
    if reason:
        raise BadInput(f"the architecture cannot be used: {reason}", reason="ARCHITECTURE_REFUSED")
    config = json.loads(text)
    for name in ("compile_config", "build_config"):
        config.pop(name, None)
    _settle(config, 0)
    if config["class_name"] == "Sequential":
        _begin(config["config"], shape)
    try:
        made = deserialize_keras_object(config, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        # Keras tells the cause last, after the whole config.
        *_, said = (line for line in (str(error).strip() or repr(error)).splitlines() if line.strip())
        raise BadInput(f"Keras cannot make the architecture: {said[:500]}", reason="ARCHITECTURE_REFUSED") from error
    return made


def _settle(layer: Any, place: int) -> None:
    """Gives a layer the name and the seed that Keras would else draw or count up, and its place in Keras where a
    person or an older Keras left that out."""
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
        return
    config, kind = layer["config"], str(layer.get("class_name"))
    layer.setdefault("module", "keras" if kind in MODELS else "keras.layers")
    if not config.get("name"):
        config["name"] = f"{kind.lower()}_{place}"
    if ("seed" in config or kind.startswith("Random")) and config.get("seed") is None:
        config["seed"] = place
    for inner, nested in enumerate(config.get("layers", ())):
        _settle(nested, inner)


def _begin(config: dict[str, Any], shape: Sequence[int]) -> None:
    """Says what a model without an input layer takes, which Keras would else give a name that counts up."""
    layers, built = config.get("layers") or [{}], config.pop("build_input_shape", None)
    first = layers[0]
    if first.get("class_name") == "InputLayer" or "batch_shape" in first.get("config", {}):
        return
    taken = {"batch_shape": built or [None, *shape], "name": "samples"}
    config["layers"] = [{"class_name": "InputLayer", "module": "keras.layers", "config": taken}, *layers]


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if isinstance(tree.get("class_name"), str):
            yield tree
        for value in tree.values():
            yield from _objects(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _objects(value)


def _name(item: dict[str, Any]) -> str:
    config = item.get("config")
    given = config.get("name") if isinstance(config, dict) else None
    return f"the layer {given!r} ({item['class_name']})" if given else f"a {item['class_name']}"
