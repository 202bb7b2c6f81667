"""Self-critical training of all networks at once: captions are drawn of the views, and the better ones rewarded.

Source:
    Rennie et al. 2017 (arXiv:1612.00563), with the deviations of `training.decoder.self_critical`; here the encoder
    learns too.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.decoder import Decoder
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from training.data.packed import Packed
from training.decoder.consensus import Consensus
from training.decoder.joint import JointNetwork, views


class Drawing(keras.Model):  # type: ignore[misc]
    """Draws captions of views from the decoder's own distribution over words.

    Args:
        learner: From `training.decoder.joint.learning_network`.
        decoder: Reads its features.
    """

    def __init__(self, learner: keras.Model, decoder: Decoder) -> None:
        super().__init__(name="drawing")
        self.learner = learner
        self.decoder = decoder
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns word ids, an end where there is one, then padding, shape (B, samples, T), int32.

        Args:
            inputs: What `views` reads, for B views; and `chances` (B, samples, T), float32 in [0, 1): the same draw
                the same captions.
        """
        photos, samples, length = inputs["chances"].shape
        features = self.learner(views(inputs), training=False)["features"]
        chances = keras.ops.reshape(inputs["chances"], (-1, length))
        drawn = draw(self.decoder, keras.ops.repeat(features, samples, axis=0), chances)
        return keras.ops.reshape(drawn, (photos, samples, length))


def draw(decoder: Decoder, features: Any, chances: Any) -> Any:
    """Draws one caption for each feature.

    Args:
        decoder: The decoder.
        features: Image features. Shape (N, D), float32.
        chances: For each word the place in the cumulated distribution that it is taken from, in [0, 1). Shape
            (N, T), float32.

    Returns:
        Word ids, an end where there is one, then padding. Shape (N, T), int32.
    """
    size = decoder.config.vocabulary_size
    allowed = np.ones(size, np.float32)
    allowed[[PAD_ID, UNKNOWN_ID]] = 0

    def pick(logits: Any, chance: Any) -> Any:
        cumulated = keras.ops.cumsum(keras.ops.softmax(logits) * allowed, axis=-1)  # (N, V)
        below = cumulated <= chance[:, None] * cumulated[:, -1:]
        return keras.ops.minimum(keras.ops.sum(keras.ops.cast(below, "int32"), axis=-1), size - 1)

    logits, state = decoder.start(features)
    words = [pick(logits, chances[:, 0])]
    alive = words[0] != END_ID
    for position in range(1, chances.shape[1]):
        logits, state = decoder.step(words[-1], state)
        word = pick(logits, chances[:, position])
        words.append(keras.ops.where(alive, word, PAD_ID))
        alive = keras.ops.logical_and(alive, word != END_ID)
    return keras.ops.stack(words, axis=1)


class RewardedNetwork(JointNetwork):
    """A `JointNetwork` that draws captions before each step, and learns to say the better ones.

    Args:
        *networks: See `JointNetwork`.
        data: The photos, whose captions are the references.
    """

    def __init__(self, *networks: Any, data: Packed) -> None:
        super().__init__(*networks)
        self._drawing = Drawing(self.learner, self.decoder)
        rows = data.rows("train", captioned=True)
        self._places = {int(row): place for place, row in enumerate(rows)}
        self._consensus = Consensus([_references(data.tokens[row]) for row in rows])

    def train_on_batch(self, x: Any, *others: Any, **options: Any) -> Any:
        """Takes a step; see `keras.Model.train_on_batch`. The figures are also those of the drawn captions' reward."""
        inputs = dict(x)
        rows = inputs.pop("rows")
        chances = inputs.pop("chances")
        first = len(rows)
        seen = {name: inputs[name][:first] for name in ("photos", "boxes", "mirrored")}
        seen |= {"shares": inputs["shares"][:0], "chances": chances}
        drawn = np.asarray(self._drawing.predict_on_batch(seen))
        rewards = np.array([[self._reward(row, ids) for ids in texts] for row, texts in zip(rows, drawn, strict=True)])
        baseline = (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
        inputs |= {"drawn": drawn, "advantages": (rewards - baseline).astype(np.float32)}
        figures = super().train_on_batch(inputs, *others, **options)
        return {**figures, "reward": float(rewards.mean())} if isinstance(figures, dict) else figures

    def _reward(self, row: int, ids: npt.NDArray[np.int32]) -> float:
        return self._consensus.score(self._places[int(row)], _words(ids))


def _references(tokens: npt.NDArray[np.int32]) -> Sequence[Sequence[str]]:
    return [_words(ids) for ids in tokens if ids.any()]


def _words(ids: npt.NDArray[np.int32]) -> list[str]:
    """Returns the words and the end, which counts as one, or captions learn to break off."""
    return [str(token) for token in ids.tolist() if token != PAD_ID]
