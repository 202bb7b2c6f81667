"""Distillation of a grown encoder's top from a teacher's answers, on maps that were computed once.

Written in Keras 3 alone. The module that computes the maps needs TensorFlow; this one does not import it.

Source:
    As `training.encoder.distill`: features of the second FC layer by their squared error, classes softened (Hinton,
    Vinyals & Dean 2015, arXiv:1503.02531). The class layer starts as the teacher's. If the first FC layer
    learns, it starts anew on standardized inputs, which are folded into its weights at the end; see
    `training.standardized`. Mixing views: Zhang et al. 2018, mixup (arXiv:1710.09412).
    Deviation: what is mixed is what the first learning layer reads, not pixels, and the teacher's answers rather than
    labels, so that neither has to be computed anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from model.errors import ConfigError, DataError
from training.config import RUN_DEFAULTS, RunConfig, TopConfig
from training.encoder.distill import FeatureLoss, SoftClassLoss, adamw
from training.encoder.top_data import Batches, TopData
from training.loop.checkpoint import named_variables
from training.loop.directory import restart
from training.loop.keras_run import KerasRun, Lesson, check_settings, optimizer_variables
from training.standardized import StandardizedDense

_BATCH = 32
_STANDARD_VIEWS = 1024


def check_train_from(encoder: keras.Model, first: str) -> None:
    """Checks that an encoder has a layer behind the maps that learning can begin with.

    Raises:
        ConfigError: There is no such layer.
    """
    known = [layer.name for layer in encoder.layers if layer.name.startswith(("block5_conv", "fc")) and layer.weights]
    if first not in known:
        raise ConfigError(f"train_from: expected one of {', '.join(known)}, received {first!r}")


def learning_part(encoder: keras.Model, first: str) -> keras.Model:
    """Cuts the learning part out of an encoder.

    Args:
        encoder: From `build_encoder`.
        first: Name of a convolution of the fifth block or of an FC layer.

    Returns:
        A model from the inputs of `first` to `features`, always those of the second FC layer, and `logits`, which it
        also gives as `labels`.

    Raises:
        ConfigError: There is no such layer behind the maps.
    """
    check_train_from(encoder, first)
    return keras.Model(encoder.get_layer(first).input, _outputs(encoder), name="learner")


def _outputs(encoder: keras.Model) -> dict[str, Any]:
    logits = encoder.output["logits"]
    labels = keras.layers.Identity(name="labels")(logits)  # a second name, for a second loss
    return {"features": encoder.get_layer("fc2_relu").output, "logits": logits, "labels": labels}


class KnownClassLoss(keras.losses.Loss):  # type: ignore[misc]
    """The cross-entropy of classes that are known."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss per view from shares of classes (y_true) and logits (y_pred), (B, C); 0 for no share."""
        return -keras.ops.sum(y_true * keras.ops.log_softmax(keras.ops.cast(y_pred, "float32")), axis=-1)


def distill_top(
    directory: Path, encoder: keras.Model, settings: Mapping[str, Any], data: TopData, config: TopConfig,
    classifier: Sequence[npt.NDArray[np.float32]], held_out: TopData | None = None, *, anew: bool = False,
    run_config: RunConfig = RUN_DEFAULTS,
) -> bool:  # fmt: skip
    """Trains an encoder's top, from the run directory's checkpoint on if there is one.

    Args:
        directory: Run directory.
        encoder: The encoder; its layers in front of `config.train_from` stay as they are.
        settings: What a resumed run must share with the run before, JSON values; `encoder` is the architecture.
        data: The inputs and targets.
        config: Options.
        classifier: Kernel and bias of the teacher's class layer, which the encoder's starts as.
        held_out: Photos on which it is compared with the teacher; None for no comparison.
        anew: Whether what an earlier run has learned is removed.
        run_config: Intervals of checkpoints and figures.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: The encoder's features are not as long as the teacher's, or the directory holds another run.
    """
    settings = {**settings, "top": asdict(config), "views": len(data)}
    if anew:
        restart(directory)
    check_settings(directory, settings)
    variance = np.asarray(data.features, np.float32).var(axis=0)
    sample = data.batch(np.arange(min(len(data), _STANDARD_VIEWS)))[0]
    learner = new_learner(encoder, config, classifier, variance, len(data), sample)
    batches = Batches(data, config)
    lesson = Lesson(
        label="distilling the top",
        network=learner.network,
        variables={
            **named_variables(encoder, "encoder"),
            **{f"standardized/{variable.name}": variable for variable in learner.standardized},
            **optimizer_variables(learner.network),
        },
        batch=batches.batch,
        total=total_steps(config, len(data)),
        learning_rate=config.learning_rate,
        settings=settings,
        compare=None if held_out is None else lambda: {"agreement": agreement(learner.network, held_out)},
        best_figure="agreement",
        settle=learner.fold,
    )
    return KerasRun(directory, lesson, run_config).train()


def total_steps(config: TopConfig, views: int) -> int:
    """Returns the steps of a run over a number of views."""
    return config.epochs * (views // config.batch_size)


def agreement(learner: keras.Model, data: TopData) -> float:
    """Returns the share of views whose most probable class is the teacher's, in [0, 1]."""
    hits = 0
    for start in range(0, len(data), _BATCH):
        inputs, targets = data.batch(np.arange(start, min(start + _BATCH, len(data))))
        guesses = np.asarray(learner.predict_on_batch(inputs)["logits"]).argmax(axis=-1)
        hits += int(np.sum(guesses == targets["logits"].argmax(axis=-1)))
    return hits / len(data)


class Learner(NamedTuple):
    """The part of an encoder that learns.

    Attributes:
        network: The part, compiled. Its layers are the encoder's; only the first FC layer, if it learns, is another
            one, with standardized inputs.
        standardized: Variables of that layer.
        fold: Gives the encoder's own first FC layer the weights that compute the same from plain inputs.
    """

    network: keras.Model
    standardized: Sequence[keras.Variable]
    fold: Callable[[], None]


def new_learner(
    encoder: keras.Model, config: TopConfig, classifier: Sequence[npt.NDArray[np.float32]],
    variance: npt.NDArray[np.float32], views: int, sample: npt.NDArray[np.float32] | None = None,
) -> Learner:  # fmt: skip
    """Returns the part of an encoder that learns. Its class layer starts with the teacher's weights.

    Args:
        encoder: The encoder; the part shares its weights.
        config: Options.
        classifier: Kernel and bias of the teacher's class layer.
        variance: Variance of each of the teacher's features. Shape (F,).
        views: Views that are learned from.
        sample: Inputs from which the standardization is computed; None for no standardization, for an estimate.

    Raises:
        DataError: The encoder's features are not as long as the teacher's.
    """
    part = learning_part(encoder, config.train_from)
    predictions = encoder.get_layer("predictions")
    expected = [value.shape for value in classifier]
    received = [tuple(value.shape) for value in predictions.weights]
    if expected != received:
        raise DataError(
            f"expected a class layer of the teacher's shapes {expected}, received {received}; give another teacher"
        )
    predictions.set_weights(classifier)
    learner = Learner(part, (), lambda: None)
    if sample is not None and encoder.get_layer("fc1") in part.layers:
        learner = _standardized(encoder, config, sample)
    learner.network.compile(
        adamw(config.learning_rate, config.weight_decay, total_steps(config, views)),
        loss={
            "features": FeatureLoss(variance),
            "logits": SoftClassLoss(config.temperature),
            "labels": KnownClassLoss(),
        },
        loss_weights={"features": 1.0, "logits": config.class_weight, "labels": config.label_weight},
        jit_compile=keras.backend.backend() == "jax",
    )
    return learner


def _standardized(encoder: keras.Model, config: TopConfig, sample: npt.NDArray[np.float32]) -> Learner:
    dense = encoder.get_layer("fc1")
    values = sample
    reached = keras.Input(sample.shape[1:])
    inputs = reached
    if config.train_from != dense.name:
        before = keras.Model(encoder.get_layer(config.train_from).input, dense.input)
        parts = np.array_split(sample, -(-len(sample) // _BATCH))
        values = np.concatenate([before.predict_on_batch(part) for part in parts])
        reached = before(inputs)
    initial = keras.initializers.GlorotUniform(seed=config.seed)
    own = StandardizedDense(dense.units, kernel_initializer=initial, name="fc1_standardized")
    behind = keras.Model(dense.output, _outputs(encoder))
    network = keras.Model(inputs, behind(own(reached)), name="learner")
    own.adapt(values)
    return Learner(network, own.weights, lambda: dense.set_weights(own.plain_weights()))
