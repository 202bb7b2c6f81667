"""The replica law: one, two and four replicas take the same step on the same global batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from model.config import DecoderConfig, EncoderConfig
from model.decoder import Decoder
from model.errors import DataError
from tests.training.stages import SIZES, replicas_of
from training.config import OptimizerConfig
from training.encoder.norm import trainable_encoder
from training.loop.optimizer import Optimizer
from training.loop.replicas import Replicas
from training.loop.step import LossScale, Stepper, StepResult, Sums, evaluator
from training.loss import full_softmax_losses, sampled_softmax_losses, word_mask

Array = npt.NDArray[Any]
Loss = Callable[[Any, tf.Tensor], Sums]
Build = Callable[[int], tuple[list[keras.Variable], Loss]]
"""Makes the variables for a number of replicas, in the scope of their strategy, and the loss on them."""

PLAIN = OptimizerConfig(
    name="sgd", learning_rate=0.1, schedule="constant", momentum=0.0, weight_decay=0.0, clip_norm=0.0
)
RATE = 0.1


class Taken(NamedTuple):
    """A step that was taken: its result, the variables after it, and who took it."""

    result: StepResult
    values: list[Array]
    optimizer: Optimizer
    stepper: Stepper


def take(
    replicas: Replicas, build: Build, batch: Sequence[Array], config: OptimizerConfig = PLAIN, *, steps: int = 1,
    loss_scale: dict[str, float] | None = None,
) -> Taken:  # fmt: skip
    """Takes steps on one batch, the same each time."""
    keras.utils.set_random_seed(3)
    with replicas.strategy.scope():
        variables, loss = build(replicas.count)
        optimizer = Optimizer(variables, config)
    dataset = tf.data.Dataset.from_tensor_slices(tuple(batch)).batch(len(batch[0])).repeat(steps)
    batches = replicas.distribute(lambda share: share(dataset))
    stepper = Stepper(replicas, loss, optimizer, batches.element_spec, loss_scale)
    for number, part in enumerate(batches):
        result = stepper.step(part, number, RATE, gradients=True)
    return Taken(result, values_of(variables), optimizer, stepper)


def values_of(variables: Sequence[keras.Variable]) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assert_same(found: Taken, expected: Taken, tolerance: float = 1e-5) -> None:
    """Compares gradients, each within a share of its largest number, and figures."""
    assert len(found.result.gradients) == len(expected.result.gradients) > 0
    for one, other in zip(found.result.gradients, expected.result.gradients, strict=True):
        largest = np.abs(other.numpy()).max()
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=tolerance, atol=tolerance * largest)
    assert found.result.figures == pytest.approx(expected.result.figures, rel=tolerance)
    assert found.result.finite


def regression(size: int = 8) -> tuple[Array, Array]:
    random = np.random.default_rng(size)
    return random.normal(size=(size, 3)).astype(np.float32), random.normal(size=(size, 1)).astype(np.float32)


def squared_errors(_count: int) -> tuple[list[keras.Variable], Loss]:
    weights = keras.Variable(np.array([[0.5], [-1.0], [2.0]], np.float32), name="weights")

    def loss(batch: tuple[tf.Tensor, tf.Tensor], _step: tf.Tensor) -> Sums:
        inputs, targets = batch
        errors = tf.matmul(inputs, weights.value) - targets
        return Sums(tf.reduce_sum(errors**2), tf.cast(tf.shape(inputs)[0], tf.float32))

    return [weights], loss


def vgg(*, batch_norm: bool) -> Build:
    config = EncoderConfig(
        widths=(0.02,) * 5,
        fc_units=16,
        classes=5,
        input_pooling=7,
        dropout=0.0,
        normalization="unit",
        batch_norm=batch_norm,
    )

    def build(count: int) -> tuple[list[keras.Variable], Loss]:
        encoder = trainable_encoder(config, synchronized=count > 1)

        def loss(batch: tuple[tf.Tensor, tf.Tensor], _step: tf.Tensor) -> Sums:
            images, labels = batch
            logits = encoder(images, training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            hits = tf.reduce_sum(tf.cast(tf.math.in_top_k(labels, logits, 2), tf.float32))
            return Sums(tf.reduce_sum(losses), tf.cast(tf.size(labels), tf.float32), {"top2": hits})

        return encoder.trainable_variables, loss

    return build


def photos(size: int) -> tuple[Array, Array]:
    random = np.random.default_rng(size)
    coarse = random.integers(0, 256, (size, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(28, 1).repeat(28, 2), random.integers(0, 5, size).astype(np.int32)


def captioner(kind: str) -> Build:
    def build(_count: int) -> tuple[list[keras.Variable], Loss]:
        decoder = Decoder(DecoderConfig(vocabulary_size=30, embedding_units=6, units=7, layers=2), 5)

        def loss(batch: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor) -> Sums:
            features, tokens = batch
            hidden = decoder.hidden(features, tokens, training=True)
            layer = decoder.output_layer
            if kind == "full":
                losses = full_softmax_losses(hidden, tokens, layer.kernel, layer.bias)
            else:
                seed = tf.stack([tf.constant(7, tf.int64), step])
                losses = sampled_softmax_losses(hidden, tokens, layer.kernel, layer.bias, negative_samples=8, seed=seed)
            return Sums(tf.reduce_sum(losses), tf.reduce_sum(word_mask(tokens)))

        return decoder.trainable_variables, loss

    return build


def captions(size: int, longest: int = 7) -> tuple[Array, Array]:
    """Makes features and captions of different lengths, the first the longest."""
    random = np.random.default_rng(size)
    tokens = random.integers(1, 30, (size, longest)).astype(np.int32)
    lengths = np.maximum(1, longest - np.arange(size))
    tokens[np.arange(longest) >= lengths[:, None]] = 0
    return random.normal(size=(size, 5)).astype(np.float32), tokens


@pytest.mark.parametrize(("count", "size"), [(1, 8), *SIZES])
def test_gradient_of_a_linear_regression_is_the_closed_form(count: int, size: int) -> None:
    inputs, targets = regression(size)
    taken = take(replicas_of(count), squared_errors, (inputs, targets))
    weights = np.array([[0.5], [-1.0], [2.0]])
    gradient = 2 / size * inputs.T.astype(float) @ (inputs @ weights - targets)
    np.testing.assert_allclose(taken.result.gradients[0].numpy(), gradient, rtol=1e-5)
    np.testing.assert_allclose(taken.values[0], weights - RATE * gradient, rtol=1e-5)
    assert taken.result.figures["loss"] == pytest.approx(np.mean((inputs @ weights - targets) ** 2), rel=1e-5)
    assert taken.result.figures["gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_gradient_descent_ends_at_the_solution_of_the_normal_equations(count: int) -> None:
    inputs, targets = regression(7)
    taken = take(replicas_of(count), squared_errors, (inputs, targets), steps=300)
    solution = np.linalg.solve(inputs.T.astype(float) @ inputs, inputs.T.astype(float) @ targets)
    np.testing.assert_allclose(taken.values[0], solution, rtol=1e-4)


@pytest.mark.parametrize("count", [2, 4])
def test_adam_leaves_every_replica_where_it_leaves_one(count: int) -> None:
    config = OptimizerConfig(name="adam", weight_decay=0.1, average=0.9)
    found, expected = (take(replicas_of(n), squared_errors, regression(), config, steps=5) for n in (count, 1))
    np.testing.assert_allclose(found.values[0], expected.values[0], rtol=1e-5)
    assert found.optimizer.slots.keys() == expected.optimizer.slots.keys() != set()
    for name, slot in found.optimizer.slots.items():
        np.testing.assert_allclose(slot.numpy(), expected.optimizer.slots[name].numpy(), rtol=1e-5)
    copies = replicas_of(count).strategy.experimental_local_results(found.optimizer.variables[0].value)
    assert len(copies) == count
    for copy in copies:
        np.testing.assert_array_equal(copy.numpy(), found.values[0])


@pytest.mark.slow
def test_replicas_find_the_gradients_of_one_on_a_small_vgg() -> None:
    build = vgg(batch_norm=False)
    expected = take(replicas_of(1), build, photos(7))
    for count in (2, 4):
        assert_same(take(replicas_of(count), build, photos(7)), expected)


@pytest.mark.slow
def test_batch_norm_over_all_replicas_finds_the_gradients_of_one() -> None:
    # Over replicas, Keras takes the variance as the mean square less the squared mean: rounding differs, and what
    # should be zero, the gradient of a bias in front of a norm, is rounding alone. So all are held to the whole norm.
    build = vgg(batch_norm=True)
    expected, found = (take(replicas_of(count), build, photos(7)).result for count in (1, 2))
    norm = expected.figures["gradient_norm"]
    assert found.figures == pytest.approx(expected.figures, rel=1e-4)
    for one, other in zip(found.gradients, expected.gradients, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4 * norm)


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_replicas_find_the_gradients_of_one_on_the_captioner(kind: str) -> None:
    for size, counts in ((7, (2, 4)), (3, (4,))):
        expected = take(replicas_of(1), captioner(kind), captions(size))
        for count in counts:
            assert_same(take(replicas_of(count), captioner(kind), captions(size)), expected)


def test_words_are_the_weight_of_captions() -> None:
    features, tokens = captions(4)
    taken = take(replicas_of(2), captioner("full"), (features, tokens))
    keras.utils.set_random_seed(3)
    _, loss = captioner("full")(1)
    singles = [loss((features[i : i + 1], tokens[i : i + 1]), tf.constant(0, tf.int64)) for i in range(4)]
    words = [float(single.weight) for single in singles]
    assert words == [7, 6, 5, 4]
    assert taken.result.figures["loss"] == pytest.approx(sum(float(single.loss) for single in singles) / 22, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_a_variable_without_a_gradient_stays_as_it_is(count: int) -> None:
    def build(count: int) -> tuple[list[keras.Variable], Loss]:
        variables, loss = squared_errors(count)
        return [keras.Variable(np.full((2, 2), 7, np.float32)), *variables], loss

    taken = take(replicas_of(count), build, regression())
    np.testing.assert_array_equal(taken.values[0], np.full((2, 2), 7))
    np.testing.assert_array_equal(taken.result.gradients[0], np.zeros((2, 2)))
    assert_same(taken._replace(result=taken.result._replace(gradients=taken.result.gradients[1:])),
                take(replicas_of(1), squared_errors, regression()))  # fmt: skip


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_loss_that_is_not_finite_updates_nothing(count: int, bad: float, name: Any) -> None:
    inputs, targets = regression()
    inputs[5, 1] = bad  # in one replica's part alone
    taken = take(replicas_of(count), squared_errors, (inputs, targets), OptimizerConfig(name=name, momentum=0.9))
    assert not taken.result.finite
    np.testing.assert_array_equal(taken.values[0], [[0.5], [-1.0], [2.0]])
    assert len(taken.optimizer.slots) > 0
    for slot in taken.optimizer.slots.values():
        np.testing.assert_array_equal(slot.numpy(), np.zeros((3, 1)))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_averaged_gradient_is_what_is_clipped(count: int) -> None:
    whole = take(replicas_of(1), squared_errors, regression()).result
    norm = whole.figures["gradient_norm"]
    config = OptimizerConfig(name="sgd", momentum=0.0, weight_decay=0.0, clip_norm=norm / 4)
    found = take(replicas_of(count), squared_errors, regression(), config).result
    np.testing.assert_allclose(found.gradients[0].numpy(), whole.gradients[0].numpy() / 4, rtol=1e-5)
    assert found.figures["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    above = OptimizerConfig(name="sgd", momentum=0.0, weight_decay=0.0, clip_norm=norm * 1.01)
    untouched = take(replicas_of(count), squared_errors, regression(), above).result
    np.testing.assert_allclose(untouched.gradients[0].numpy(), whole.gradients[0].numpy(), rtol=1e-5)


def half_precision(size: float) -> Build:
    """Builds a loss in float16 whose gradient is `size` for a variable of one number that starts at 1."""

    def build(_count: int) -> tuple[list[keras.Variable], Loss]:
        weight = keras.Variable(np.ones((1, 1), np.float32))

        def loss(batch: tuple[tf.Tensor], _step: tf.Tensor) -> Sums:
            (inputs,) = batch
            products = tf.matmul(tf.cast(inputs * size, tf.float16), tf.cast(weight.value, tf.float16))
            return Sums(tf.reduce_sum(tf.cast(products, tf.float32)), tf.cast(tf.size(inputs), tf.float32))

        return [weight], loss

    return build


ONES = (np.ones((2, 1), np.float32),)


@pytest.mark.parametrize("count", [1, 2])
def test_an_overflow_of_float16_halves_the_scale_and_is_no_step(count: int) -> None:
    first = take(replicas_of(count, precision="float16"), half_precision(2.0), ONES)  # 2**15 * 2 > 65504
    assert first.result.finite
    assert (first.stepper.loss_scale.value, first.stepper.loss_scale.good_steps) == (2.0**14, 0)
    assert first.values[0] == 1
    later = take(replicas_of(count, precision="float16"), half_precision(2.0), ONES, steps=3)
    assert later.stepper.loss_scale.value in (2.0**14, 2.0**13)  # the replica of two records sums them first
    assert later.stepper.loss_scale.good_steps > 0
    assert later.values[0] == pytest.approx(1 - RATE * 2 * later.stepper.loss_scale.good_steps, rel=1e-6)
    assert later.result.gradients[0].numpy() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("scale", "steps", "found"),
    [(2.0**15, 1, (2.0**15, 1999)), (2.0**15, 2, (2.0**16, 0)), (2.0**15, 3, (2.0**16, 1)), (2.0**24, 2, (2.0**24, 0))],
)
def test_the_scale_grows_after_many_good_steps_up_to_its_limit(
    scale: float, steps: int, found: tuple[float, int]
) -> None:
    saved = {"scale": scale, "good_steps": LossScale.GROWTH_STEPS - 2}
    replicas = replicas_of(1, precision="float16")
    grown = take(replicas, squared_errors, regression(), steps=steps, loss_scale=saved).stepper.loss_scale
    assert (grown.value, grown.good_steps) == found


def test_a_gradient_too_small_for_float16_is_kept_by_the_scale() -> None:
    size = 2.0**-26  # float16's least number is 2**-24
    scaled = take(replicas_of(1, precision="float16"), half_precision(size * 2**10), ONES).result
    assert scaled.gradients[0].numpy() == pytest.approx(size * 2**10, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2.0**5, 2.0**12])
def test_gradients_do_not_depend_on_the_scale(scale: float) -> None:
    replicas = replicas_of(2, precision="float16")
    (inputs, targets) = regression()
    with replicas.strategy.scope():
        variables, loss = squared_errors(2)
        optimizer = Optimizer(variables, PLAIN)
    batches = replicas.distribute(lambda share: share(tf.data.Dataset.from_tensors((inputs, targets))))
    stepper = Stepper(replicas, loss, optimizer, batches.element_spec)
    stepper.loss_scale.value = scale
    found = stepper.step(next(iter(batches)), 0, RATE, gradients=True)
    expected = take(replicas_of(1), squared_errors, (inputs, targets)).result
    np.testing.assert_allclose(found.gradients[0].numpy(), expected.gradients[0].numpy(), rtol=1e-5)
    assert found.figures == pytest.approx(expected.figures, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_xla_finds_the_same_gradients(count: int) -> None:
    for build, batch in ((squared_errors, regression()), (captioner("full"), captions(5))):
        assert_same(take(replicas_of(count, xla=True), build, batch), take(replicas_of(1), build, batch), 1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_batches_of_other_lengths_do_not_trace_anew(count: int) -> None:
    replicas = replicas_of(count)
    with replicas.strategy.scope():
        variables, loss = captioner("full")(count)
        optimizer = Optimizer(variables, PLAIN)
    shapes = [(4, 7), (4, 5), (3, 6), (1, 2), (4, 7)]

    def numbered() -> Any:
        yield from (captions(size, longest) for size, longest in shapes)

    spec = (tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None, None), tf.int32))
    dataset = tf.data.Dataset.from_generator(numbered, output_signature=spec)
    batches = replicas.distribute(lambda share: share(dataset))
    stepper = Stepper(replicas, loss, optimizer, batches.element_spec)
    losses = [stepper.step(batch, step, RATE).figures["loss"] for step, batch in enumerate(batches)]
    assert len(losses) == len(shapes)
    function: Any = stepper.function
    assert function.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("count", [1, 2, 4])
def test_scoring_averages_over_records_not_over_batches_or_replicas(count: int) -> None:
    inputs, targets = regression(7)
    replicas = replicas_of(count)
    with replicas.strategy.scope():
        _, loss = squared_errors(count)
    dataset = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(5)  # 5 and 2
    found = evaluator(replicas, loss)(replicas.distribute(lambda share: share(dataset)))
    errors = inputs @ np.array([[0.5], [-1.0], [2.0]]) - targets
    assert found == pytest.approx({"loss": np.mean(errors**2)}, rel=1e-5)


def test_scoring_nothing_is_an_error() -> None:
    empty = tf.data.Dataset.from_tensor_slices(regression()).batch(2).take(0)
    evaluate = evaluator(replicas_of(1), squared_errors(1)[1])
    with pytest.raises(DataError, match="expected records to score, found none"):
        evaluate(empty)
