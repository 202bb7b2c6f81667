"""Measures the machine's fastest simple loops: int8 and float32 multiplication, and reading memory."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.machine import cores
from model.engines.quiet import quiet_tensorflow

WARM_UP = 5
RUNS = 25
ROWS = 1024
SIDE = 2048
CHANNELS = 512
POSITIONS = 28
ARRAY_BYTES = 2**30

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Rate:
    """One loop: its name in the report, its unit, and the multiply-adds or bytes of one round."""

    what: str
    unit: str
    amount: int


_MATRIX = ROWS * SIDE * SIDE
_CONVOLUTION = POSITIONS * POSITIONS * 9 * CHANNELS * CHANNELS

RATES = {
    "int8-matrix": Rate(f"int8 matrix {ROWS}x{SIDE}x{SIDE}, dynamic range, LiteRT", "GMAC/s", _MATRIX),
    "int8-dynamic": Rate("int8 convolution 3x3 512 to 512 at 28x28, dynamic range, LiteRT", "GMAC/s", _CONVOLUTION),
    "int8-static": Rate("int8 convolution 3x3 512 to 512 at 28x28, fixed ranges, LiteRT", "GMAC/s", _CONVOLUTION),
    "float32-numpy": Rate(f"float32 matrix {ROWS}x{SIDE}x{SIDE}, NumPy", "GMAC/s", _MATRIX),
    "float32-tensorflow": Rate(f"float32 matrix {ROWS}x{SIDE}x{SIDE}, TensorFlow", "GMAC/s", _MATRIX),
    "memory": Rate(f"reading {ARRAY_BYTES / 1e9:.2f} GB of memory, all cores", "GB/s", ARRAY_BYTES),
}


def measure_rate(key: str) -> list[float]:
    """Returns the seconds of each round of a loop, after the first ones.

    Raises:
        ValueError: There is no such loop.
    """
    makers = {
        "int8-matrix": _int8_matrix,
        "int8-dynamic": lambda: _int8_convolution(fixed_ranges=False),
        "int8-static": lambda: _int8_convolution(fixed_ranges=True),
        "float32-numpy": _float32_numpy,
        "float32-tensorflow": _float32_tensorflow,
        "memory": _memory,
    }
    if key not in makers:
        raise ValueError(f"expected one of {', '.join(makers)}, received {key!r}; choose one")
    work = makers[key]()
    seconds = []
    for _ in range(WARM_UP + RUNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def _random(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def _float32_numpy() -> Work:
    left = _random(ROWS, SIDE)
    right = _random(SIDE, SIDE)
    return lambda: left @ right


def _float32_tensorflow() -> Work:
    quiet_tensorflow()
    import tensorflow as tf

    left = tf.constant(_random(ROWS, SIDE))
    right = tf.constant(_random(SIDE, SIDE))
    multiply = tf.function(tf.matmul)
    return lambda: multiply(left, right).numpy()


def _memory() -> Work:
    array = np.ones(ARRAY_BYTES // 4, np.float32)
    parts = np.array_split(array, cores())
    pool = ThreadPoolExecutor(len(parts))
    # The largest value is found at the width of the vector unit, and without the GIL.
    return lambda: list(pool.map(np.max, parts))


def _int8_matrix() -> Work:
    quiet_tensorflow()
    import tensorflow as tf

    kernel = tf.constant(_random(SIDE, SIDE))
    return _lite(lambda values: tf.matmul(values, kernel), (ROWS, SIDE), fixed_ranges=False)


def _int8_convolution(*, fixed_ranges: bool) -> Work:
    quiet_tensorflow()
    import tensorflow as tf

    kernel = tf.constant(_random(3, 3, CHANNELS, CHANNELS))
    shape = (1, POSITIONS, POSITIONS, CHANNELS)
    return _lite(lambda values: tf.nn.conv2d(values, kernel, 1, "SAME"), shape, fixed_ranges=fixed_ranges)


def _lite(graph: Callable[[Any], Any], shape: tuple[int, ...], *, fixed_ranges: bool) -> Work:
    """Converts a function of one tensor as our engine's models are, and returns a function that runs it."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    values = _random(*shape)
    traced = tf.function(graph, input_signature=[tf.TensorSpec(shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if fixed_ranges:
        converter.representative_dataset = lambda: iter([[values]])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=cores())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    invoke: Work = interpreter.invoke
    return invoke
