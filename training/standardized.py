"""A dense layer that learns on standardized inputs, and its equivalent without standardization."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

_LEAST_DEVIATION = 1e-3
_LEAST_SHARE = 0.1
"""Smallest deviation, as a share of the median: almost constant inputs must not be blown up when they change."""


class StandardizedDense(keras.layers.Dense):  # type: ignore[misc]
    """A dense layer that first standardizes each input: subtracts its mean, divides by its standard deviation.

    The channels of VGG's maps have means and deviations that differ tenfold; a layer that reads them as they are learns
    several times slower. Until `adapt` is called, the means are 0 and the deviations 1.

    Source:
        LeCun et al. 1998, Efficient BackProp, sec. 4.3.
    """

    def build(self, input_shape: Any) -> None:
        """Makes the variables; see `keras.layers.Layer.build`."""
        super().build(input_shape)
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=shape, initializer="ones", trainable=False, name="deviation")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns values (…, U) of inputs (…, D)."""
        return super().call((inputs - self.mean) / self.deviation, training=training)

    def adapt(self, inputs: npt.NDArray[np.float32]) -> None:
        """Sets means and deviations from inputs (N, D). Kernel and bias stay, so the layer's outputs change."""
        deviation = inputs.std(axis=0)
        self.mean.assign(inputs.mean(axis=0))
        self.deviation.assign(np.maximum(deviation, max(_LEAST_DEVIATION, _LEAST_SHARE * float(np.median(deviation)))))

    def plain_weights(self) -> list[npt.NDArray[np.float32]]:
        """Returns kernel (D, U) and bias (U,) of the plain dense layer with the same outputs."""
        kernel, bias, mean, deviation = (
            keras.ops.convert_to_numpy(v) for v in (self.kernel, self.bias, self.mean, self.deviation)
        )
        plain = kernel / deviation[:, None]
        return [plain, bias - mean @ plain]

    def set_plain_weights(self, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> None:
        """Sets kernel and bias so that the outputs are those of a plain dense layer (D, U), (U,) on the same inputs."""
        self.kernel.assign(kernel * keras.ops.convert_to_numpy(self.deviation)[:, None])
        self.bias.assign(bias + keras.ops.convert_to_numpy(self.mean) @ kernel)
