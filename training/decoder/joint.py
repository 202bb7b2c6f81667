"""Training encoder, class layers and decoder at once, from photos, beside a teacher that sees every view.

Written in Keras 3 alone, so that it runs on any Keras backend (`KERAS_BACKEND=jax` on a GPU).

Source:
    Vinyals et al. 2015, sec. 4.3.1, for training the convolutions with the captions; Beyer et al. 2021
    (arXiv:2106.05237) for a teacher that answers the very views that the student sees, mixtures too.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.decoder import Decoder
from model.errors import ConfigError
from model.vocabulary import PAD_ID
from training.data.labelled import UNKNOWN
from training.decoder.joint_config import JointConfig
from training.encoder.cropping import crop
from training.encoder.distill import FeatureLoss, SoftClassLoss
from training.encoder.folding import is_identity

LAST = "block5_pool"
"""Layer whose output all features are computed from."""

LEARNS_ANYWAY = "block5"
"""Block whose identity learns: at 14 x 14 it costs little to compute."""


def learning_network(encoder: keras.Model, first: str) -> keras.Model:
    """Freezes what does not learn, and leaves out what changes nothing.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches.
        first: Name of the first convolution that learns. Behind it identities in blocks 3 and 4 stay as they are:
            the CPU engine does not compute them.

    Returns:
        A model from images (B, 224, 224, 3), uint8, to the encoder's outputs and `taught`, the second FC layer's.

    Raises:
        ConfigError: There is no such layer.
    """
    convolutions = [layer.name for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    if first not in convolutions:
        raise ConfigError(f"first_trained: expected one of {', '.join(convolutions)}, received {first!r}")
    learning = False
    values = encoder.input
    names = [layer.name for layer in encoder.layers]
    for layer in encoder.layers[1 : names.index(LAST) + 1]:
        learning = learning or layer.name == first
        layer.trainable = learning
        if layer.name in convolutions and is_identity(layer) and not layer.name.startswith(LEARNS_ANYWAY):
            layer.trainable = False
            continue
        values = layer(values)
    outputs = dict(encoder.output) | {"taught": encoder.get_layer("fc2_relu").output}
    head = keras.Model(encoder.get_layer(LAST).output, outputs, name="head")
    return keras.Model(encoder.input, head(values), name="learner")


class JointNetwork(keras.Model):  # type: ignore[misc]
    """The networks of a step: a batch in, its losses out.

    Args:
        encoder: From `build_encoder`, with the teacher's FC units and classes.
        decoder: Reads the encoder's features.
        teacher: Answers every view; frozen.
        config: Options.
        variance: Variance of each of the teacher's features. Shape (F,).
    """

    def __init__(
        self, encoder: keras.Model, decoder: Decoder, teacher: keras.Model, config: JointConfig,
        variance: npt.NDArray[np.float32],
    ) -> None:  # fmt: skip
        super().__init__(name="joint")
        self.encoder = encoder
        self.learner = learning_network(encoder, config.first_trained)
        self.decoder = decoder
        self.teacher = teacher
        self.config = config
        self._feature_loss = FeatureLoss(variance)
        self._class_loss = SoftClassLoss(config.temperature)
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Returns losses.

        Args:
            inputs: What `views` reads, for N views; `tokens` (B, captions, T), int32, and `weights` (B,) of the first
                B of them; `labels` (N,), int32, `UNKNOWN` where a class is not known. In self-critical training also
                `drawn` (B, samples, T), int32, padded, and `advantages` (B, samples), float32, by which
                their losses are multiplied.
            training: Whether dropout is on.

        Returns:
            `captions` (B,), `features`, `classes` and `labels` (N,): each loss of every photo.
        """
        images = views(inputs)
        side = self.teacher.input.shape[1]
        larger = keras.ops.image.resize(keras.ops.cast(images, "float32"), (side, side), interpolation="bicubic")
        seen = keras.ops.cast(keras.ops.clip(keras.ops.round(larger), 0, 255), "uint8")
        answers = {name: keras.ops.stop_gradient(value) for name, value in self.teacher(seen, training=False).items()}
        outputs = self.learner(images, training=training)
        logits = keras.ops.cast(outputs["logits"], "float32")
        return {
            "captions": self._caption_losses(outputs["features"], inputs, training),
            "features": self._feature_loss.call(answers["features"], outputs["taught"]),
            "classes": self._class_loss.call(answers["logits"], logits),
            "labels": _label_losses(logits, inputs["labels"]),
        }

    def _caption_losses(self, features: Any, inputs: Mapping[str, Any], training: bool) -> Any:
        """Returns each photo's part of the mean over all words, times the number of photos. Shape (B,)."""
        config = self.config
        smoothing = config.label_smoothing if training else 0.0
        weights = inputs["weights"]
        tokens = inputs["tokens"]
        true = self._word_losses(features, tokens, weights, keras.ops.ones_like(tokens[..., 0]), smoothing, training)
        if "drawn" not in inputs:
            return true
        # Without dropout, as they were drawn.
        drawn = self._word_losses(features, inputs["drawn"], weights, inputs["advantages"], 0.0, training=False)
        return drawn + config.cross_entropy * true

    def _word_losses(
        self, features: Any, tokens: Any, weights: Any, factors: Any, smoothing: float, training: bool
    ) -> Any:
        """Returns the losses of captions (B, C, T), each times its factor (B, C) and its photo's weight (B,)."""
        photos, captions, length = keras.ops.shape(tokens)
        flat = keras.ops.reshape(tokens, (-1, length))
        repeated = keras.ops.repeat(features[:photos], captions, axis=0)
        hidden = self.decoder.hidden(repeated, flat, training=training)
        scores = keras.ops.matmul(keras.ops.cast(hidden, "float32"), self.decoder.output_kernel)
        log_probs = keras.ops.log_softmax(scores + self.decoder.output_bias)  # (B * C, T, V)
        true = keras.ops.squeeze(keras.ops.take_along_axis(log_probs, flat[..., None], axis=-1), -1)
        losses = -(1 - smoothing) * true - smoothing * keras.ops.mean(log_probs, axis=-1)
        mask = keras.ops.cast(flat != PAD_ID, "float32") * keras.ops.repeat(weights, captions)[:, None]
        words = keras.ops.maximum(keras.ops.sum(mask), 1.0)
        losses *= mask * keras.ops.reshape(keras.ops.cast(factors, "float32"), (-1, 1))
        by_photo = keras.ops.sum(keras.ops.reshape(losses, (photos, -1)), axis=1)
        return by_photo * keras.ops.cast(photos, "float32") / words


def views(inputs: Mapping[str, Any]) -> Any:
    """Makes the views of a step from its photos.

    Args:
        inputs: `photos` (N + M, 224, 224, 3), uint8, with `boxes` and `mirrored`, see `training.encoder.cropping`; and
            `shares` (M,), of each of the last M of the N views in its mixture with one of the M photos behind them.

    Returns:
        Shape (N, 224, 224, 3), uint8.
    """
    crops = crop(inputs["photos"], inputs["boxes"], inputs["mirrored"])
    shares = inputs["shares"][:, None, None, None]
    mixed = keras.ops.shape(shares)[0]
    count = keras.ops.shape(crops)[0] - mixed
    mixtures = shares * crops[count - mixed : count] + (1 - shares) * crops[count:]
    whole = keras.ops.concatenate([crops[: count - mixed], mixtures])
    return keras.ops.cast(keras.ops.clip(keras.ops.round(whole), 0, 255), "uint8")


def _label_losses(logits: Any, labels: Any) -> Any:
    """Returns the cross-entropy of known classes, 0 for others, scaled to a mean over the known. Shape (N,)."""
    known = keras.ops.cast(labels != UNKNOWN, "float32")
    losses = keras.losses.sparse_categorical_crossentropy(keras.ops.maximum(labels, 0), logits, from_logits=True)
    count = keras.ops.cast(keras.ops.shape(labels)[0], "float32")
    return losses * known * count / keras.ops.maximum(keras.ops.sum(known), 1.0)


def mean_of_losses(_target: Any, losses: Any) -> Any:
    """Returns losses that a network has computed itself."""
    return losses


class RatedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW with a factor on the learning rate of some variables.

    Args:
        factors: Factor by path of a variable; 1 for all others.
        **options: See `keras.optimizers.AdamW`.
    """

    def __init__(self, factors: Mapping[str, float], **options: Any) -> None:
        super().__init__(**options)
        self._factors = dict(factors)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        # Here, because TensorFlow's variables have lost their path in `update_step`.
        factors = [self._factors.get(variable.path, 1.0) for variable in trainable_variables]
        for factor in dict.fromkeys(factors):
            chosen = [index for index, value in enumerate(factors) if value == factor]
            gradients, variables = ([values[index] for index in chosen] for values in (grads, trainable_variables))
            super()._backend_update_step(gradients, variables, learning_rate * factor)


def compile_joint(network: JointNetwork, config: JointConfig) -> None:
    """Gives the network its losses and its optimizer; the encoder has a learning rate of its own."""
    warmup = max(1, config.steps // 50)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-6, max(1, config.steps - warmup), warmup_target=config.learning_rate, warmup_steps=warmup
    )
    slower = config.encoder_learning_rate / config.learning_rate
    factors = {variable.path: slower for variable in network.learner.trainable_variables}
    optimizer = RatedAdamW(factors, learning_rate=schedule, weight_decay=config.weight_decay, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    weights = {
        "captions": 1.0, "features": config.class_weight, "classes": config.class_weight, "labels": config.label_weight
    }  # fmt: skip
    network.compile(
        optimizer, loss=dict.fromkeys(weights, mean_of_losses), loss_weights=weights,
        jit_compile=keras.backend.backend() == "jax",
    )  # fmt: skip
