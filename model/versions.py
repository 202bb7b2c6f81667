"""Versions of the bundle format, and the conversion of an older configuration to the current one."""

import types
from collections.abc import Mapping
from typing import Any

from model.errors import ConfigError

FORMAT_VERSION = 2
"""Version of the bundle format that this code writes. Version 1, which lacks a few fields, is read too."""

READABLE_VERSIONS = (1, FORMAT_VERSION)

ADDED: Mapping[str, Mapping[str, object]] = types.MappingProxyType(
    {
        "encoder": {"features": "fc2"},
        "decoder": {"image_every_step": False, "residual": False, "tied_embeddings": False, "word_dropout": 0.0},
        "search": {"no_repeat_ngram": 0},
    }
)
"""Fields that version 1 lacks, by part, with the value that version 1 implies."""


def upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration of any readable version as one of `FORMAT_VERSION`.

    Args:
        value: Parsed JSON with a whole number as `format_version`.

    Raises:
        ConfigError: The version is not readable, or a field is not of that version.
    """
    version = value["format_version"]
    if version not in READABLE_VERSIONS:
        known = " or ".join(map(str, READABLE_VERSIONS))
        raise ConfigError(f"format_version: expected {known}, received {version!r}")
    if version == FORMAT_VERSION:
        return value
    parts = {name: value[name] for name in ADDED if isinstance(value.get(name), dict)}
    for name, part in parts.items():
        for field_name in ADDED[name].keys() & part.keys():
            raise ConfigError(f"{name}.{field_name} is not a field of format_version {version}; remove it")
    return value | {name: {**ADDED[name], **part} for name, part in parts.items()} | {"format_version": FORMAT_VERSION}
