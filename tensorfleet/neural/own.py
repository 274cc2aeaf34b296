"""A user's own architecture: a Keras config as JSON, without code.

The rule: nothing but what Keras itself offers is made from it, and nothing that calls or loads what a user wrote; all
that can be said without Keras is said when a job is submitted.
"""

import json
from collections.abc import Iterator
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


def refusal(text: str) -> str | None:
    """Why an architecture is not taken, as far as its text tells; None where it may be."""
    config = json.loads(text)
    if not isinstance(config.get("class_name"), str) or not isinstance(config.get("config"), dict):
        return "expected a model's config with class_name and config, as `model.to_json()` gives"
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


def model(text: str) -> Any:
    """The model of an architecture, with new weights. BadInput where Keras does not take it."""
    from keras.saving import deserialize_keras_object

    reason = refusal(text)
    if reason:
        raise BadInput(f"the architecture cannot be used: {reason}", reason="ARCHITECTURE_REFUSED")
    config = json.loads(text)
    for place, layer in enumerate(config["config"].get("layers", [])):
        _settle(layer, place)
    for name in ("compile_config", "build_config"):
        config.pop(name, None)
    try:
        made = deserialize_keras_object(config, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        said = str(error).strip().partition("\n")[0]
        raise BadInput(f"Keras cannot make the architecture: {said}", reason="ARCHITECTURE_REFUSED") from error
    if not hasattr(made, "trainable_weights") or not hasattr(made, "input_shape"):
        raise BadInput("the architecture is no model with one input", reason="ARCHITECTURE_REFUSED")
    return made


def _settle(layer: Any, place: int) -> None:
    """Gives a layer the name and the seed that Keras would else draw or count up."""
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
        return
    config = layer["config"]
    if not config.get("name"):
        config["name"] = f"{str(layer.get('class_name')).lower()}_{place}"
    if "seed" in config and config["seed"] is None:
        config["seed"] = place
    for inner, nested in enumerate(config.get("layers", ())):
        _settle(nested, inner)


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
