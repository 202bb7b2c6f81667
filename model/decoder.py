"""Show-and-Tell decoder: the image feature first, then the words, through stacked GRUs. Pure Keras 3, any backend."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from model.config import DecoderConfig


class Decoder(keras.Model):  # type: ignore[misc]
    """Stacked GRUs that predict each word of a caption from the image feature and the words before it.

    Step 0 reads the (projected) feature and its output predicts word 1; step t reads word t's embedding and predicts
    word t + 1. There is no start token.

    Args:
        config: The architecture.
        feature_units: Length D of the image feature.
        dense: Makes the layer that projects the feature, where there is one.

    Source:
        Vinyals et al. 2015, eq. 10-12 (arXiv:1411.4555); GRU (Cho et al. 2014, arXiv:1406.1078) in place of LSTM,
        with the bias inside the reset gate as in cuDNN (`reset_after`). Dropout on the inputs, between layers and in
        front of the output (Zaremba et al. 2014, arXiv:1409.2329).
    """

    def __init__(
        self, config: DecoderConfig, feature_units: int, dense: Callable[..., layers.Dense] = layers.Dense
    ) -> None:
        super().__init__(name="decoder")
        self.config = config
        units = config.embedding_units
        size = config.vocabulary_size
        self.projection = dense(units, name="projection") if config.project_features else None
        self.embedding = layers.Embedding(size, units, name="embedding")
        self.dropout = layers.Dropout(config.dropout, name="dropout")
        # A word is dropped as a whole.
        self.word_dropout = layers.Dropout(config.word_dropout, noise_shape=(None, None, 1), name="word_dropout")
        self.stack = [
            layers.GRU(config.units, return_sequences=True, reset_after=True, name=f"gru_{index + 1}")
            for index in range(config.layers)
        ]
        self.bottleneck = layers.Dense(units, name="bottleneck") if config.tied_embeddings else None
        self.output_layer = WordScores(size, tied=config.tied_embeddings, name="output", dtype="float32")
        self._build(feature_units)

    def _build(self, feature_units: int) -> None:
        if self.projection is not None:
            self.projection.build((None, feature_units))
        self.embedding.build((None, None))
        for index, layer in enumerate(self.stack):
            layer.build((None, None, self.config.units if index else self.config.input_units))
        if self.bottleneck is not None:
            self.bottleneck.build((None, None, self.config.units))
        self.output_layer.build((None, None, self.config.scored_units))
        self.built = True

    @property
    def output_kernel(self) -> Any:
        """Returns the kernel that turns `hidden` into scores of words, shape (U, V) or, tied, (E, V), float32."""
        if self.output_layer.kernel is not None:
            return self.output_layer.kernel
        return keras.ops.cast(keras.ops.transpose(self.embedding.embeddings), "float32")

    @property
    def output_bias(self) -> Any:
        """Returns the bias of the scores of words, shape (V,)."""
        return self.output_layer.bias

    def hidden(self, features: Any, tokens: Any, *, training: bool = False) -> Any:
        """Runs the GRUs over whole captions with the true words as input (teacher forcing).

        Args:
            features: Image features. Shape (B, D), float32.
            tokens: True words with end and padding. Shape (B, T), int32, in [0, V).
            training: Whether dropout is on.

        Returns:
            Vectors that score words; position t predicts `tokens[:, t]`. Shape (B, T, U), or (B, T, E) where tied.
        """
        image = self._image(features)[:, None]  # (B, 1, E)
        words = self.word_dropout(self.embedding(tokens[:, :-1]), training=training)
        values = keras.ops.concatenate([image, words], axis=1)  # (B, T, E)
        if self.config.image_every_step:
            beside = keras.ops.repeat(image, keras.ops.shape(values)[1], axis=1)
            values = keras.ops.concatenate([values, beside], axis=2)  # (B, T, 2E)
        values = self.dropout(values, training=training)
        for index, layer in enumerate(self.stack):
            outputs = self.dropout(layer(values, training=training), training=training)
            values = outputs + values if index and self.config.residual else outputs  # (B, T, U)
        return values if self.bottleneck is None else self.bottleneck(values)

    def call(self, features: Any, tokens: Any, training: bool = False) -> Any:
        """Returns logits of every word of teacher-forced captions, shape (B, T, V), float32; arguments as `hidden`."""
        return self._score(self.hidden(features, tokens, training=training))

    def start(self, features: Any) -> tuple[Any, Any]:
        """Reads the image.

        Args:
            features: Image features. Shape (B, D), float32.

        Returns:
            logits: Unnormalised scores of the first word. Shape (B, V), float32.
            state: GRU states after the image, one after the other, and the (projected) feature where it stands beside
                every input. Shape (B, S), float32; S is `config.state_units`.
        """
        image = self._image(features)
        zeros = keras.ops.zeros((keras.ops.shape(image)[0], self.config.units))
        return self._advance(image, [zeros] * self.config.layers, image)

    def step(self, tokens: Any, state: Any) -> tuple[Any, Any]:
        """Advances every hypothesis by one word.

        Args:
            tokens: Last word of each hypothesis. Shape (N,), int32, in [0, V).
            state: State after the words before it. Shape (N, S), float32.

        Returns:
            logits: Unnormalised scores of the next word. Shape (N, V), float32.
            state: State after `tokens`. Shape (N, S), float32.
        """
        units = self.config.units
        before = [state[:, index * units : (index + 1) * units] for index in range(self.config.layers)]
        return self._advance(self.embedding(tokens), before, state[:, self.config.layers * units :])

    def _image(self, features: Any) -> Any:
        return features if self.projection is None else self.projection(features)

    def _advance(self, values: Any, before: list[Any], image: Any) -> tuple[Any, Any]:
        kept = [image] if self.config.image_every_step else []
        values = keras.ops.concatenate([values, *kept], axis=1) if kept else values
        states = []
        for index, (layer, state) in enumerate(zip(self.stack, before, strict=True)):
            outputs, _ = layer.cell(values, [state])  # (N, U)
            states.append(outputs)
            values = outputs + values if index and self.config.residual else outputs
        values = values if self.bottleneck is None else self.bottleneck(values)
        return self._score(values), keras.ops.concatenate([*states, *kept], axis=1)

    def _score(self, values: Any) -> Any:
        return self.output_layer(values, self.output_kernel)


class WordScores(layers.Layer):  # type: ignore[misc]
    """A dense layer that scores all words, or its bias alone where the embeddings are the kernel.

    Args:
        size: Number of words V.
        tied: Whether it has no kernel of its own.
    """

    def __init__(self, size: int, *, tied: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._size = size
        self._tied = tied
        self.kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the variables; see `keras.layers.Layer.build`."""
        if not self._tied:
            self.kernel = self.add_weight(shape=(input_shape[-1], self._size), name="kernel")
        self.bias = self.add_weight(shape=(self._size,), initializer="zeros", name="bias")

    def call(self, values: Any, kernel: Any) -> Any:
        """Returns logits (…, V), float32, of values (…, U) by a kernel (U, V)."""
        return keras.ops.matmul(keras.ops.cast(values, "float32"), kernel) + self.bias
