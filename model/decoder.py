"""Show-and-Tell decoder: the image feature first, then the words, through stacked GRUs. Pure Keras 3, any backend."""

from typing import Any

import keras
from keras import layers

from model.config import DecoderConfig


class Decoder(keras.Model):  # type: ignore[misc]
    """Predicts every next word of a caption from the image feature and the words before it.

    Step 0 reads the (projected) feature and its output predicts word 1; step t reads word t's embedding and predicts
    word t + 1. There is no start token.

    Args:
        config: The architecture.
        feature_units: Length D of the image feature.

    Source:
        Vinyals et al. 2015, eq. 10-12 (arXiv:1411.4555); GRU (Cho et al. 2014, arXiv:1406.1078) in place of LSTM,
        with the bias inside the reset gate as in cuDNN (`reset_after`). Dropout on the inputs, between layers and in
        front of the output (Zaremba et al. 2014, arXiv:1409.2329).
    """

    def __init__(self, config: DecoderConfig, feature_units: int) -> None:
        super().__init__(name="decoder")
        self.config = config
        units, size = config.embedding_units, config.vocabulary_size
        self.projection = layers.Dense(units, name="projection") if config.project_features else None
        self.embedding = layers.Embedding(size, units, name="embedding")
        self.dropout = layers.Dropout(config.dropout, name="dropout")
        self.stack = [
            layers.GRU(config.units, return_sequences=True, reset_after=True, name=f"gru_{index + 1}")
            for index in range(config.layers)
        ]
        self.output_layer = layers.Dense(size, name="output", dtype="float32")
        self._build(feature_units)

    def _build(self, feature_units: int) -> None:
        if self.projection is not None:
            self.projection.build((None, feature_units))
        self.embedding.build((None, None))
        for index, layer in enumerate(self.stack):
            layer.build((None, None, self.config.units if index else self.config.embedding_units))
        self.output_layer.build((None, None, self.config.units))
        self.built = True

    def hidden(self, features: Any, tokens: Any, *, training: bool = False) -> Any:
        """Runs the GRUs over whole captions with the true words as input (teacher forcing).

        Args:
            features: Image features. Shape (B, D), float32.
            tokens: True words with end and padding. Shape (B, T), int32, in [0, V).
            training: Whether dropout is on.

        Returns:
            Output of the last GRU; position t predicts `tokens[:, t]`. Shape (B, T, U).
        """
        first = self._first_input(features)[:, None]  # (B, 1, E)
        values = keras.ops.concatenate([first, self.embedding(tokens[:, :-1])], axis=1)  # (B, T, E)
        values = self.dropout(values, training=training)
        for layer in self.stack:
            values = self.dropout(layer(values, training=training), training=training)  # (B, T, U)
        return values

    def call(self, features: Any, tokens: Any, training: bool = False) -> Any:
        """Returns logits of every word of teacher-forced captions, shape (B, T, V), float32; arguments as `hidden`."""
        return self.output_layer(self.hidden(features, tokens, training=training))

    def start(self, features: Any) -> tuple[Any, Any]:
        """Reads the image.

        Args:
            features: Image features. Shape (B, D), float32.

        Returns:
            logits: Unnormalised scores of the first word. Shape (B, V), float32.
            state: GRU state after the image. Shape (B, L, U), float32.
        """
        zeros = keras.ops.zeros((keras.ops.shape(features)[0], self.config.layers, self.config.units))
        return self._advance(self._first_input(features), zeros)

    def step(self, tokens: Any, state: Any) -> tuple[Any, Any]:
        """Advances every hypothesis by one word.

        Args:
            tokens: Last word of each hypothesis. Shape (N,), int32, in [0, V).
            state: GRU state after the words before it. Shape (N, L, U), float32.

        Returns:
            logits: Unnormalised scores of the next word. Shape (N, V), float32.
            state: GRU state after `tokens`. Shape (N, L, U), float32.
        """
        return self._advance(self.embedding(tokens), state)

    def _first_input(self, features: Any) -> Any:
        return features if self.projection is None else self.projection(features)

    def _advance(self, values: Any, state: Any) -> tuple[Any, Any]:
        states = []
        for index, layer in enumerate(self.stack):
            values, _ = layer.cell(values, [state[:, index]])  # (N, U)
            states.append(values)
        return self.output_layer(values), keras.ops.stack(states, axis=1)
