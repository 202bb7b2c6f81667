"""Answers in the shape of a client's JSON schema, whose properties are filled by their names and types."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from model.captioner import ClassPrediction
from server.errors import ParameterError
from server.problems import Json

CAPTION_NAMES = ("caption", "description", "alt", "title")
"""Names of properties that hold the caption."""

LABEL_NAMES = ("labels", "tags", "keywords")
"""Names of properties that hold the labels of the classes."""

CLASSES = 5
"""Number of classes where labels are wanted."""

_NUMBERS = ("confidence", "probability", "score", "topicality")
_MEMBERS = MappingProxyType({"string": ("name", "label"), "number": _NUMBERS})
_MOST_PROPERTIES = 100
_NAME_CHARACTERS = 100
_LIMITING = ("enum", "const", "pattern", "format")


class _Slot(NamedTuple):
    """How a property is filled: as a text, as an array of texts or of objects with these members, or with null."""

    form: Literal["text", "texts", "objects", "null"]
    most: int = CLASSES
    members: tuple[str, ...] = ()


class Shape:
    """The properties of an object, and how each is filled.

    Args:
        slots: The properties.
    """

    def __init__(self, slots: Mapping[str, _Slot]) -> None:
        self._slots = slots

    @classmethod
    def of(cls, schema: Json) -> "Shape":
        """Returns the shape that a JSON schema of an object prescribes.

        Raises:
            ParameterError: It requires a property that cannot be filled, or has none that can.
        """
        properties = schema.get("properties")
        required = {name for name in _listed(schema.get("required")) if isinstance(name, str)}
        if not isinstance(properties, dict) or len(properties) > _MOST_PROPERTIES:
            raise _refused("no properties, or too many")
        found = {name: _slot(name, item) for name, item in properties.items()}
        slots = {name: slot for name, slot in found.items() if slot is not None}
        for name in required - slots.keys():
            raise _refused(f"{name[:50]!r} of another name or type")
        if all(slot.form == "null" for slot in slots.values()):
            raise _refused("none of them")
        return cls(slots)

    @property
    def classes(self) -> int:
        """Returns how many classes must be asked for."""
        return CLASSES if any(name in LABEL_NAMES for name in self._slots) else 0

    def fill(self, caption: str, classes: Sequence[ClassPrediction]) -> Json:
        """Returns the object for a caption and classes."""
        return {name: _filled(name, slot, caption, classes) for name, slot in self._slots.items()}


PLAIN_SHAPE = Shape({"caption": _Slot("text"), "labels": _Slot("texts")})
"""The shape where JSON is asked for without a schema."""

LABELS_SHAPE = Shape({"labels": _Slot("objects", members=("name", "confidence", "topicality"))})
"""The shape that photo libraries look for."""


def _slot(name: str, item: Any) -> _Slot | None:
    """Returns how a property is filled; None if it cannot be."""
    kinds, schema = _kinds(item)
    if name in (*CAPTION_NAMES, *LABEL_NAMES):
        if "string" in kinds and not any(word in schema for word in _LIMITING):
            return _Slot("text")
        if "array" in kinds:
            return _array_slot(name, schema)
    return _Slot("null") if "null" in kinds and len(name) <= _NAME_CHARACTERS else None


def _array_slot(name: str, schema: Json) -> _Slot | None:
    kinds, items = _kinds(schema.get("items", {"type": "string"}))
    most = schema.get("maxItems")
    most = most if isinstance(most, int) and most >= 0 else CLASSES
    if "string" in kinds and not any(word in items for word in _LIMITING):
        return _Slot("texts", most)
    members = items.get("properties")
    required = _listed(items.get("required"))
    if "object" not in kinds or not isinstance(members, dict) or name not in LABEL_NAMES:
        return None
    fillable = tuple(
        member
        for kind, names in _MEMBERS.items()
        for member in names
        if member in members and kind in _kinds(members[member])[0]
    )
    return _Slot("objects", most, fillable) if fillable and all(one in fillable for one in required) else None


def _kinds(item: Any) -> tuple[list[Any], Json]:
    """Returns the types that a schema allows, and the alternative of it that is not null."""
    if not isinstance(item, dict):
        return [], {}
    kind = item.get("type")
    if kind is not None:
        return (kind, item) if isinstance(kind, list) else ([kind], item)
    options = [_kinds_alone(option) for option in _listed(item.get("anyOf"))]
    kinds = [kind for names, _ in options for kind in names]
    return kinds, next((schema for names, schema in options if names != ["null"]), {})


def _kinds_alone(option: Any) -> tuple[list[Any], Json]:
    """Returns the same for one alternative, which has no alternatives of its own."""
    return ([option.get("type")], option) if isinstance(option, dict) else ([], {})


def _filled(name: str, slot: _Slot, caption: str, classes: Sequence[ClassPrediction]) -> Any:
    if slot.form == "null":
        return None
    texts = [caption] if name in CAPTION_NAMES else [item.label for item in classes]
    if slot.form == "text":
        return ", ".join(texts)
    if slot.form == "texts":
        return texts[: slot.most]
    return [
        {member: item.label if member in _MEMBERS["string"] else item.probability for member in slot.members}
        for item in classes[: slot.most]
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _refused(received: str) -> ParameterError:
    return ParameterError(
        "expected a JSON schema of an object whose required properties are texts or arrays of texts among "
        f"{', '.join((*CAPTION_NAMES, *LABEL_NAMES))}, received {received}; leave others out, or allow null"
    )
