"""The captioner: predictions that agree with its networks, whatever is asked for and in whatever batch."""

import dataclasses
import itertools
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import Bundle
from model.captioner import Captioner, Prediction
from model.decoder import Decoder
from model.encoder import build_encoder
from model.errors import BundleError, SearchOptionError
from model.vocabulary import SPECIAL
from model.weights import assign_weights

Images = npt.NDArray[np.uint8]


def without_times(predictions: list[Prediction]) -> list[Prediction]:
    return [dataclasses.replace(p, encode_seconds=0.0, search_seconds=0.0) for p in predictions]


def test_the_same_images_give_the_same_predictions(captioner: Captioner, images: Images) -> None:
    one, other = (captioner.predict(images, captions=3) for _ in range(2))
    assert without_times(one) == without_times(other)


def test_different_images_give_different_predictions(captioner: Captioner, images: Images) -> None:
    predictions = captioner.predict(images, classes=12)
    assert len({prediction.classes for prediction in predictions}) == len(images)
    assert len({prediction.captions[0].log_probability for prediction in predictions}) == len(images)


def test_a_batch_gives_what_each_image_gives_alone(captioner: Captioner, images: Images) -> None:
    together = captioner.predict(images, beam_size=4, captions=4, classes=12)
    for index, expected in enumerate(together):
        (alone,) = captioner.predict(images[index : index + 1], beam_size=4, captions=4, classes=12)
        assert [caption.text for caption in alone.captions] == [caption.text for caption in expected.captions]
        assert [item.id for item in alone.classes] == [item.id for item in expected.classes]
        np.testing.assert_allclose(
            [c.log_probability for c in alone.captions], [c.log_probability for c in expected.captions], rtol=1e-4
        )
        np.testing.assert_allclose(
            [item.probability for item in alone.classes], [item.probability for item in expected.classes], rtol=1e-4
        )


@pytest.mark.parametrize("beam_size", [1, 3, 10])
def test_probabilities_are_those_of_the_networks_word_by_word(
    toy: Bundle, captioner: Captioner, images: Images, beam_size: int
) -> None:
    encoder = build_encoder(toy.config.encoder)
    decoder = Decoder(toy.config.decoder, toy.config.encoder.feature_units)
    assign_weights(encoder, toy.weights, "encoder")
    assign_weights(decoder, toy.weights, "decoder")
    features = encoder(images[:1], training=False)["features"]
    (prediction,) = captioner.predict(images[:1], beam_size=beam_size, captions=beam_size)
    for caption in prediction.captions:
        tokens = toy.vocabulary.encode(caption.text)[: toy.config.search.max_words]
        logits = decoder(features, np.array([tokens], np.int32))
        log_probs = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0, range(len(tokens)), tokens]
        assert caption.log_probability == pytest.approx(float(log_probs.sum()), rel=1e-4)
        words = np.exp(log_probs[: len(caption.words)])
        np.testing.assert_allclose([word.probability for word in caption.words], words, rtol=1e-4)


def test_a_caption_is_as_probable_as_its_words_and_its_end_together(captioner: Captioner, images: Images) -> None:
    for prediction in captioner.predict(images, beam_size=10, captions=10):
        for caption in prediction.captions:
            together = math.prod(word.probability for word in caption.words)
            assert caption.text == " ".join(word.text for word in caption.words)
            assert caption.probability == pytest.approx(math.exp(caption.log_probability))
            if len(caption.words) == captioner.config.search.max_words:
                assert caption.probability == pytest.approx(together, rel=1e-4)
            else:
                assert 0 < caption.probability < together


@pytest.mark.parametrize(("beam_size", "captions"), [(1, 1), (3, 1), (3, 3), (10, 4), (10, 10)])
def test_captions_come_best_first_and_no_more_than_were_asked_for(
    captioner: Captioner, images: Images, beam_size: int, captions: int
) -> None:
    for prediction in captioner.predict(images, beam_size=beam_size, captions=captions):
        scores = [caption.log_probability for caption in prediction.captions]
        assert len(scores) == captions
        assert scores == sorted(scores, reverse=True)
        assert len({caption.text for caption in prediction.captions}) == captions


def test_the_width_of_the_search_is_the_bundles_unless_another_is_asked_for(
    captioner: Captioner, images: Images
) -> None:
    default = captioner.config.search.beam_size
    one = captioner.predict(images, captions=3)
    other = captioner.predict(images, captions=3, beam_size=default)
    assert without_times(one) == without_times(other)
    assert len(captioner.predict(images[:1], captions=5, beam_size=5)[0].captions) == 5


def test_padding_and_unknown_are_never_said_and_no_caption_is_empty(captioner: Captioner) -> None:
    noise = np.random.default_rng(8).integers(0, 256, (8, 224, 224, 3), np.uint8)
    predictions = captioner.predict(noise, beam_size=10, captions=10)
    captions = list(itertools.chain.from_iterable(prediction.captions for prediction in predictions))
    words = {word.text for caption in captions for word in caption.words}
    assert words
    assert words <= set(captioner.vocabulary.words) - set(SPECIAL)
    assert all(1 <= len(caption.words) <= captioner.config.search.max_words for caption in captions)


@pytest.mark.parametrize("count", [0, 1, 5, 12, 20])
def test_classes_come_most_probable_first_and_at_most_all(
    toy: Bundle, captioner: Captioner, images: Images, count: int
) -> None:
    for prediction in captioner.predict(images, classes=count):
        probabilities = [item.probability for item in prediction.classes]
        assert len(probabilities) == min(count, 12)
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) <= 1 + 1e-5
        assert {(item.id, item.label) for item in prediction.classes} <= set(toy.classes)
        if count >= 12:
            assert sum(probabilities) == pytest.approx(1, rel=1e-5)


def test_class_probabilities_belong_to_their_names(toy: Bundle, captioner: Captioner, images: Images) -> None:
    encoder = build_encoder(toy.config.encoder)
    assign_weights(encoder, toy.weights, "encoder")
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(encoder(images[:1], training=False)["logits"]))[0]
    (prediction,) = captioner.predict(images[:1], classes=12)
    by_id = {item.id: item.probability for item in prediction.classes}
    np.testing.assert_allclose([by_id[name.id] for name in toy.classes], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"beam_size": 0}, "beam_size: expected 1 to 10, received 0"),
        ({"beam_size": 11}, "beam_size: expected 1 to 10, received 11"),
        ({"captions": 0}, "captions: expected 1 to 3, received 0"),
        ({"captions": 4}, "captions: expected 1 to 3, received 4"),
        ({"captions": 3, "beam_size": 2}, "captions: expected 1 to 2, received 3"),
        ({"classes": -1}, "classes: expected 0 to 20, received -1"),
        ({"classes": 21}, "classes: expected 0 to 20, received 21"),
    ],
)
def test_an_option_out_of_range_is_named(
    captioner: Captioner, images: Images, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(SearchOptionError, match=name):
        captioner.predict(images, **options)


def test_an_image_that_nobody_waits_for_has_no_captions_and_the_others_are_as_ever(
    captioner: Captioner, images: Images
) -> None:
    predictions = without_times(captioner.predict(images, wanted=lambda: [True, False, True, True]))
    expected = without_times(captioner.predict(images))
    assert predictions[1].captions == ()
    assert [predictions[index] for index in (0, 2, 3)] == [expected[index] for index in (0, 2, 3)]


def test_times_are_those_of_the_two_networks(captioner: Captioner, images: Images) -> None:
    started = time.monotonic()
    (prediction,) = captioner.predict(images[:1])
    elapsed = time.monotonic() - started
    assert prediction.encode_seconds > 0
    assert prediction.search_seconds > 0
    assert prediction.encode_seconds + prediction.search_seconds <= elapsed


def test_a_captioner_from_disk_predicts_what_the_one_in_memory_does(
    captioner: Captioner, toy_bundle: Path, images: Images
) -> None:
    loaded = Captioner.load(toy_bundle, engine="tensorflow")
    assert loaded.engine == captioner.engine == "tensorflow"
    assert loaded.config == captioner.config
    assert without_times(loaded.predict(images)) == without_times(captioner.predict(images))


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        Captioner.load(tmp_path / "nowhere")
