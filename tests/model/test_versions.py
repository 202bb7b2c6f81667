"""Earlier versions of the bundle format, which mean what they meant."""

import json
from typing import Any

import pytest

from model.config import CaptionerConfig, parse_encoder
from model.errors import ConfigError
from model.presets import small
from model.versions import ADDED


def of_version(version: int, **decoder: object) -> dict[str, Any]:
    """Returns the small preset as an earlier version of the format had it."""
    content: dict[str, Any] = json.loads(small().to_json())
    for parts in (parts for since, parts in ADDED.items() if since > version):
        for section, names in parts.items():
            part = content[section] if section else content
            for name in names:
                del part[name]
    content["decoder"] |= decoder
    return content | {"format_version": version}


def test_a_configuration_of_version_1_means_what_it_meant() -> None:
    config = CaptionerConfig.from_json(json.dumps(of_version(1)))
    assert config == small()
    assert (config.format_version, config.encoder.features, config.decoder.image_every_step) == (5, "fc2", False)
    assert parse_encoder(of_version(1)["encoder"]) == small().encoder


def test_version_1_has_no_fields_of_version_2_and_version_2_has_all() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.residual is not a field of format_version 1; remove it"):
        CaptionerConfig.from_json(json.dumps(of_version(1, residual=True)))
    with pytest.raises(ConfigError, match=r"(encoder|decoder|search)\.\w+ is missing"):
        CaptionerConfig.from_json(json.dumps(of_version(1) | {"format_version": 2}))


def test_version_2_parts_words_by_spaces_and_cannot_say_so() -> None:
    content = of_version(2)
    assert CaptionerConfig.from_json(json.dumps(content)) == small()
    assert small().segmentation == "spaces"
    with pytest.raises(ConfigError, match=r"^segmentation is not a field of format_version 2; remove it"):
        CaptionerConfig.from_json(json.dumps(content | {"segmentation": "icu"}))
    with pytest.raises(ConfigError, match=r"^segmentation is missing"):
        CaptionerConfig.from_json(json.dumps(content | {"format_version": 3}))
