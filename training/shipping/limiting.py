"""Limits of an encoder's activations, so that the CPU engine's int8 steps of them are finer.

The CPU engine quantises what a convolution reads by its range in that photo, of which a few values far above all
others take a large part. A ReLU6 cuts them off at no cost, since XNNPACK clamps the outputs of a convolution anyway.

Source:
    ReLU6: Krizhevsky 2010, "Convolutional Deep Belief Networks on CIFAR-10"; for quantisation, Howard et al. 2017
    (arXiv:1704.04861). A network of ReLUs computes the same with the outputs of a layer multiplied by a positive
    number and the inputs of the next divided by it (Nagel et al. 2019, arXiv:1906.04721, eq. 6, here one number for
    a whole layer), so that 6 lies where it is wanted.
"""

from dataclasses import replace

import keras
import numpy as np
import numpy.typing as npt

from model.blocks import BLOCKS
from model.bundle import Bundle
from model.config import FEATURES, CaptionerConfig
from model.encoder import build_encoder
from model.errors import ConfigError
from model.tensors import Weights
from model.weights import assign_weights
from training.encoder.folding import gains_by_branch
from training.progress import progress

LIMIT = 6.0
"""The largest output of ReLU6."""

PHOTOS = 64
"""Most photos that limits are taken from."""

_VALUES = 100_003
"""About how many activations of each layer are taken of a photo: odd, so that all channels are among them."""

_BATCH = 8
_PROJECTION = "decoder/projection/kernel"


def limit_activations(bundle: Bundle, photos: npt.NDArray[np.uint8], share: float) -> Bundle:
    """Returns a bundle whose convolutions have a ReLU6, and weights for which it cuts the largest activations.

    Args:
        bundle: Its encoder has ReLUs.
        photos: Typical photos, RGB, of which the first `PHOTOS` are used. Shape (P, 224, 224, 3), uint8.
        share: Share of the activations of each convolution that are not cut where none before it were, in (0, 1]; with
            1 the captioner computes the same on these photos.

    Returns:
        The bundle. Its last map is scaled; the layers that read it undo that.

    Raises:
        ConfigError: The encoder has ReLU6 already, or the decoder reads its last map without a projection.
    """
    config = bundle.config
    if config.encoder.activation != "relu":
        raise ConfigError(
            f"encoder.activation: expected relu, found {config.encoder.activation}: it is limited already"
        )
    if FEATURES[config.encoder.features][0] and not config.decoder.project_features:
        raise ConfigError(
            "expected a decoder that projects the features: nothing else can undo the scale of a last map"
        )
    encoder = build_encoder(config.encoder)
    assign_weights(encoder, bundle.weights, "encoder")
    scales = {name: LIMIT / limit for name, limit in _limits(encoder, photos[:PHOTOS], share).items()}
    weights = {name: np.array(value, np.float32) for name, value in bundle.weights.items()}  # copies
    before = 1.0
    for name, scale in scales.items():
        weights[f"encoder/{name}/kernel"] *= scale / before
        weights[f"encoder/{name}/bias"] *= scale
        before = scale
    weights["encoder/fc1/kernel"] /= before
    rows = _rows_of_map(config)
    if rows:
        weights[_PROJECTION][:rows] /= before
    limited = replace(config, encoder=replace(config.encoder, activation="relu6"))
    return replace(bundle, config=limited, weights=_as_before(weights, bundle.weights))


def _rows_of_map(config: CaptionerConfig) -> int:
    """Returns how many of the features, the first ones, come from the last map."""
    return FEATURES[config.encoder.features][0] * BLOCKS[-1].scaled(config.encoder.widths[-1])


def _as_before(weights: Weights, before: Weights) -> Weights:
    """Returns weights in the types that they had."""
    return {name: value.astype(before[name].dtype) for name, value in weights.items()}


def _limits(encoder: keras.Model, photos: npt.NDArray[np.uint8], share: float) -> dict[str, float]:
    """Returns the limit of each convolution by its name, in order.

    A convolution that is stored as an identity and a rest has the limit of the one before it, so that the identity is
    one still.
    """
    found: dict[str, float] = {}
    joined: list[str] = []
    for name, quantile in _quantiles(encoder, photos, share).items():
        joined = [*joined, name] if joined and gains_by_branch(encoder.get_layer(name).kernel) else [name]
        largest = max([quantile, *(found[other] for other in joined[:-1])])
        found |= dict.fromkeys(joined, largest)
    return found


def _quantiles(encoder: keras.Model, photos: npt.NDArray[np.uint8], share: float) -> dict[str, float]:
    """Returns the quantile of each convolution's activations, at least 0, by the layer's name, in order."""
    names = [layer.name for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    watched = keras.Model(encoder.input, {name: encoder.get_layer(f"{name}_relu").output for name in names})
    taken: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in names}
    for start in progress(range(0, len(photos), _BATCH), "measuring activations", unit="batch"):
        for name, values in watched.predict_on_batch(photos[start : start + _BATCH]).items():
            for photo in np.asarray(values, np.float32).reshape(len(values), -1):
                step = 1 if share == 1 else max(1, len(photo) // _VALUES) // 2 * 2 + 1
                taken[name].append(photo[::step].copy())
    return {
        name: float(max(np.quantile(np.concatenate(parts), share), np.finfo(np.float32).tiny))
        for name, parts in taken.items()
    }
