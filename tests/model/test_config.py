"""Configurations: strict JSON, ranges, presets."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.blocks import BLOCKS
from model.config import (
    FEATURES,
    CaptionerConfig,
    DecoderConfig,
    EncoderConfig,
    SearchConfig,
)
from model.errors import ConfigError
from model.presets import PRESETS, paper, small, with_vocabulary_size

SIZES = st.integers(1, 10**6)
FRACTIONS = st.floats(0, 1, exclude_max=True)
NAMES = st.text(min_size=1)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)

ENCODERS = st.builds(
    EncoderConfig,
    widths=st.tuples(*[st.floats(0, 1, exclude_min=True)] * 5),
    fc_units=SIZES,
    classes=SIZES,
    normalization=st.sampled_from(["caffe", "unit"]),
    input_pooling=st.sampled_from([1, 2, 4, 7]),
    batch_norm=st.booleans(),
    residual=st.booleans(),
    pooling=st.sampled_from(["flatten", "average"]),
    dropout=FRACTIONS,
    features=st.sampled_from(sorted(FEATURES.keys() - {"grid"})),
)
DECODERS = st.builds(
    DecoderConfig,
    vocabulary_size=st.integers(4, 10**6),
    embedding_units=SIZES,
    layers=st.integers(1, 9),
    units=SIZES,
    dropout=FRACTIONS,
    image_every_step=st.booleans(),
    residual=st.booleans(),
    tied_embeddings=st.booleans(),
    word_dropout=FRACTIONS,
)
SEARCHES = st.builds(
    SearchConfig,
    beam_size=st.integers(1, 10),
    max_words=st.integers(1, 100),
    length_penalty=st.floats(0, 2),
    no_repeat_ngram=st.integers(0, 100),
    repeatable_words=st.integers(0, 10_000),
)
CONFIGS = st.builds(
    CaptionerConfig,
    name=NAMES,
    version=NAMES,
    encoder=ENCODERS,
    decoder=DECODERS,
    search=SEARCHES,
    provenance=st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    scores=st.dictionaries(st.text(), st.dictionaries(st.text(), st.floats(allow_nan=False)), max_size=2),
)


def changed(path: str, value: Any) -> str:
    """Returns the JSON of the small preset with one field replaced or added."""
    content: dict[str, Any] = json.loads(small().to_json())
    *sections, name = path.split(".")
    section = content
    for key in sections:
        section = section[key]
    section[name] = value
    return json.dumps(content)


@given(CONFIGS)
def test_json_gives_the_same_configuration_back(config: CaptionerConfig) -> None:
    assert CaptionerConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_survives_json(name: str) -> None:
    config = PRESETS[name]()
    assert CaptionerConfig.from_json(config.to_json()) == config


def test_the_paper_preset_has_the_numbers_of_the_design() -> None:
    config = paper()
    assert config.encoder == EncoderConfig(
        widths=(1.0, 1.0, 1.0, 1.0, 1.0),
        fc_units=4096,
        classes=1000,
        normalization="caffe",
        input_pooling=1,
        pooling="flatten",
        dropout=0.5,
    )
    assert not config.encoder.batch_norm
    assert not config.encoder.residual
    assert config.decoder == DecoderConfig(
        vocabulary_size=10_000, embedding_units=4096, layers=4, units=1000, project_features=False, dropout=0.0
    )
    assert config.search.max_words == 10


def test_the_blocks_are_configuration_e_of_the_paper() -> None:
    assert [(block.convolutions, block.channels) for block in BLOCKS] == [
        (2, 64), (2, 128), (4, 256), (4, 512), (4, 512),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [1e-9, 0.03, 0.25, 1.0])
def test_a_scaled_block_keeps_at_least_one_channel_and_at_most_all(width: float) -> None:
    assert all(1 <= block.scaled(width) <= block.channels for block in BLOCKS)
    assert all(block.scaled(width) == max(1, round(width * block.channels)) for block in BLOCKS)


def test_a_vocabulary_size_is_replaced_and_nothing_else() -> None:
    config = with_vocabulary_size(small(), 1234)
    assert config.decoder.vocabulary_size == 1234
    assert with_vocabulary_size(config, small().decoder.vocabulary_size) == small()


@pytest.mark.parametrize(
    "path", ["colour", "encoder.colour", "decoder.colour", "search.colour"], ids=lambda path: path.replace(".", "_")
)
def test_an_unknown_field_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{path} is not a known field"):
        CaptionerConfig.from_json(changed(path, 1))


@pytest.mark.parametrize("section", ["", "encoder", "decoder", "search"])
def test_every_missing_field_is_named(section: str) -> None:
    content = json.loads(small().to_json())
    for name in content[section] if section else content:
        damaged = json.loads(small().to_json())
        del (damaged[section] if section else damaged)[name]
        with pytest.raises(ConfigError) as caught:
            CaptionerConfig.from_json(json.dumps(damaged))
        assert str(caught.value).startswith(f"{section}.{name} is missing" if section else f"{name} is missing")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 7),
        ("version", None),
        ("version", 1),
        ("format_version", "1"),
        ("format_version", True),
        ("segmentation", None),
        ("encoder", []),
        ("encoder.widths", 0.25),
        ("encoder.widths", [0.25] * 4),
        ("encoder.widths", [0.25] * 6),
        ("encoder.widths", [0.25] * 4 + ["0.25"]),
        ("encoder.widths", [True] * 5),
        ("encoder.fc_units", 1280.0),
        ("encoder.fc_units", True),
        ("encoder.normalization", 1),
        ("encoder.batch_norm", 1),
        ("encoder.residual", "yes"),
        ("encoder.pooling", None),
        ("decoder", "decoder"),
        ("decoder.layers", 1.5),
        ("decoder.project_features", 0),
        ("search", None),
        ("search.beam_size", "3"),
        ("search.length_penalty", [0.5]),
        ("search.no_repeat_ngram", 2.0),
        ("provenance", "by hand"),
        ("scores", [1]),
    ],
)
def test_a_mistyped_field_is_named(path: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{path}: expected .+, received "):
        CaptionerConfig.from_json(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", ""),
        ("version", ""),
        ("format_version", 6),
        ("segmentation", "jieba"),
        ("format_version", 0),
        ("encoder.features", "fc1"),
        ("decoder.word_dropout", 1.0),
        ("encoder.widths", [0.0] + [1.0] * 4),
        ("encoder.widths", [1.0] * 4 + [1.01]),
        ("encoder.widths", [1.0] * 4 + [float("nan")]),
        pytest.param("encoder.widths", [10**400] * 5, id="encoder.widths-huge"),
        ("encoder.fc_units", 0),
        ("encoder.classes", 0),
        ("encoder.normalization", "zscore"),
        ("encoder.input_pooling", 3),
        ("encoder.pooling", "max"),
        ("encoder.dropout", 1.0),
        ("encoder.dropout", -0.1),
        ("decoder.vocabulary_size", 3),
        ("decoder.embedding_units", 0),
        ("decoder.layers", 0),
        ("decoder.units", 0),
        ("decoder.dropout", 1.0),
        ("search.beam_size", 0),
        ("search.beam_size", 11),
        ("search.max_words", 0),
        ("search.max_words", 101),
        ("search.length_penalty", -0.5),
        ("search.length_penalty", float("inf")),
        ("search.no_repeat_ngram", -1),
        ("search.no_repeat_ngram", 101),
        ("search.repeatable_words", -1),
    ],
)
def test_a_field_out_of_range_is_named(path: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{path}: expected .+, received "):
        CaptionerConfig.from_json(changed(path, value))


@pytest.mark.parametrize(
    ("features", "units"),
    [("fc2", 1280), ("average", 512), ("average_max", 1024), ("grid", 2048), ("average_fc2", 1792)],
)
def test_the_length_of_the_feature_follows_from_what_it_is(features: Any, units: int) -> None:
    assert EncoderConfig(fc_units=1280, features=features).feature_units == units


def test_an_unprojected_feature_must_equal_the_embedding() -> None:
    decoder = dataclasses.replace(small().decoder, project_features=False)
    with pytest.raises(
        ConfigError, match=r"decoder\.embedding_units: expected equal to the encoder's feature \(1280\)"
    ):
        dataclasses.replace(small(), decoder=decoder)
    fitting = dataclasses.replace(decoder, embedding_units=small().encoder.fc_units)
    assert dataclasses.replace(small(), decoder=fitting).decoder.embedding_units == 1280


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, '{"a": 1} {"b": 2}'], ids=range(5))
def test_text_that_is_not_json_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a JSON object"):
        CaptionerConfig.from_json(text)


@pytest.mark.parametrize("text", ["null", "[]", "3", '"text"'])
def test_json_that_is_no_object_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a JSON object, received"):
        CaptionerConfig.from_json(text)


@given(st.text() | JSON_VALUES.map(json.dumps))
def test_any_text_gives_a_configuration_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        CaptionerConfig.from_json(text)


def test_a_configuration_cannot_be_changed_in_place() -> None:
    config = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.encoder.widths = (0.5,) * 5  # type: ignore[misc]
    assert config == small()
