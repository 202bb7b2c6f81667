"""The replica law: one, two and four replicas take the same step on the same global batch."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import DecoderConfig, EncoderConfig
from model.decoder import Decoder
from model.errors import DataError
from tests.training.loop.steps import PLAIN, RATE, Array, Build, Loss, assert_same, regression, squared_errors, take
from tests.training.stages import SIZES, replicas_of
from training.config import OptimizerConfig
from training.encoder.norm import trainable_encoder
from training.loop.optimizer import Optimizer
from training.loop.step import Stepper, Sums, evaluator
from training.loss import full_softmax_losses, sampled_softmax_losses, word_mask


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
