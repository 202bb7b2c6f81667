"""Versions of the bundle format, and the conversion of an older configuration to the current one."""

import types
from collections.abc import Mapping
from typing import Any

from model.errors import ConfigError

FORMAT_VERSION = 5
"""Version of the bundle format that this code writes. Earlier ones, which lack a few fields, are read too."""

READABLE_VERSIONS = (1, 2, 3, 4, FORMAT_VERSION)

READABLE_IN_WORDS = f"{', '.join(map(str, READABLE_VERSIONS[:-1]))} or {FORMAT_VERSION}"

WHOLE = ""
"""Name of the configuration itself among its parts."""

ADDED: Mapping[int, Mapping[str, Mapping[str, object]]] = types.MappingProxyType(
    {
        2: {
            "encoder": {"features": "fc2"},
            "decoder": {"image_every_step": False, "residual": False, "tied_embeddings": False, "word_dropout": 0.0},
            "search": {"no_repeat_ngram": 0},
        },
        3: {WHOLE: {"segmentation": "spaces"}},
        4: {WHOLE: {"confidence_temperature": 1.0}},
        5: {"encoder": {"activation": "relu"}, "search": {"repeatable_words": 0}},
    }
)
"""Fields that a version added, by part, with the value that earlier versions imply."""


def upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration of any readable version as one of `FORMAT_VERSION`.

    Args:
        value: Parsed JSON with a whole number as `format_version`.

    Raises:
        ConfigError: The version is not readable, or a field is not of that version.
    """
    version = value["format_version"]
    if version not in READABLE_VERSIONS:
        raise ConfigError(f"format_version: expected {READABLE_IN_WORDS}, received {version!r}")
    found = value
    for parts in (parts for since, parts in ADDED.items() if since > version):
        for name, fields in parts.items():
            found = _with_fields(found, name, fields, version)
    return found | {"format_version": FORMAT_VERSION}


def _with_fields(value: dict[str, Any], name: str, fields: Mapping[str, object], version: int) -> dict[str, Any]:
    """Returns a configuration with fields added to one of its parts."""
    part = value if name == WHOLE else value.get(name)
    if not isinstance(part, dict):
        return value
    for field_name in fields.keys() & part.keys():
        where = field_name if name == WHOLE else f"{name}.{field_name}"
        raise ConfigError(f"{where} is not a field of format_version {version}; remove it")
    whole = {**fields, **part}
    return whole if name == WHOLE else value | {name: whole}
