"""Self-critical training of all networks at once."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from model.decoder import Decoder
from model.errors import ConfigError
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from tests.training.decoder.test_joint import CONFIG, DECODER, ENCODER, LONGEST, encoder, some_photos, teacher
from training.decoder.joint import compile_joint
from training.decoder.joint_batches import JointBatches
from training.decoder.joint_config import JointConfig
from training.decoder.joint_rewards import RewardedNetwork, draw

__all__ = ["encoder", "teacher"]

STEPS = 60
REWARDED = replace(
    CONFIG, samples=6, learning_rate=0.05, encoder_learning_rate=0.001, steps=STEPS, captioned=8, views=1, dropout=0.0,
    class_weight=0.0, label_weight=0.0,
)  # fmt: skip


def test_captions_are_drawn_from_the_decoders_own_distribution() -> None:
    keras.utils.set_random_seed(5)
    decoder = Decoder(DECODER, 5)
    decoder.output_layer.bias.assign(np.linspace(-1, 1, DECODER.vocabulary_size))
    count = 4000
    features = np.repeat(np.random.default_rng(1).random((1, 5), np.float32), count, axis=0)
    chances = np.random.default_rng(2).random((count, 6), np.float32)
    drawn = np.asarray(draw(decoder, features, chances))
    logits, state = decoder.start(features[:1])
    for position, before in ((0, None), (1, 5)):
        if before is not None:
            logits, _ = decoder.step(np.array([before], np.int32), state)
        chosen = drawn if before is None else drawn[drawn[:, 0] == before]
        shares = np.bincount(chosen[:, position], minlength=DECODER.vocabulary_size) / len(chosen)
        expected = np.exp(np.asarray(logits)[0].astype(np.float64))
        expected[[PAD_ID, UNKNOWN_ID]] = 0
        np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.05)
    ended = drawn == END_ID
    after = np.cumsum(ended, axis=1) - ended > 0
    assert ended.any()
    assert (drawn[after] == PAD_ID).all()
    assert (drawn[~after] != PAD_ID).all()


@pytest.mark.parametrize("chance", [0.0, np.nextafter(np.float32(1), np.float32(0))])
def test_the_ends_of_chance_draw_words(chance: float) -> None:
    decoder = Decoder(DECODER, 5)
    drawn = np.asarray(draw(decoder, np.ones((2, 5), np.float32), np.full((2, 3), chance, np.float32)))
    assert not np.isin(drawn[:, 0], (PAD_ID, UNKNOWN_ID)).any()
    assert drawn.max() < DECODER.vocabulary_size


def test_training_raises_the_reward(encoder: keras.Model, teacher: keras.Model) -> None:
    data = some_photos()
    decoder = Decoder(DECODER, ENCODER.feature_units)
    network = RewardedNetwork(encoder, decoder, teacher, REWARDED, np.ones(8, np.float32), data=data)
    compile_joint(network, REWARDED)
    batches = JointBatches(data, REWARDED, LONGEST)
    convolution = encoder.get_layer("block5_conv1").get_weights()[0]
    rewards = [network.train_on_batch(*batches.batch(step), return_dict=True)["reward"] for step in range(STEPS)]
    assert np.mean(rewards[-10:]) > 1.5 * np.mean(rewards[:10])
    assert np.abs(encoder.get_layer("block5_conv1").get_weights()[0] - convolution).max() > 0


def test_one_caption_of_each_photo_is_refused() -> None:
    with pytest.raises(ConfigError, match="samples: expected 0, or at least 2"):
        JointConfig(samples=1)
