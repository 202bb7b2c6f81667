"""PyTorch, eager, float32: the same model written in PyTorch."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.arithmetic import identity_convolutions
from bench.machine import cores
from bench.peers.once import run_once
from model.blocks import BLOCKS
from model.bundle import Bundle
from model.config import MAX_BEAM_SIZE, CaptionerConfig, EncoderConfig
from model.engines.protocol import Encoded
from model.search import Floats, Ints
from model.tensors import Weights
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID


class PyTorchEngine:
    """An engine that runs eagerly in float32, in PyTorch's memory layout channels last.

    Args:
        encoder: The encoder.
        decoder: Its decoder.
    """

    name = "PyTorch"

    def __init__(self, encoder: "Encoder", decoder: "Decoder") -> None:
        torch.set_num_threads(cores())
        decoder.eval()
        self._run_encoder = encoder.eval().to(memory_format=torch.channels_last)
        self._run_start = decoder.start
        self._run_step = decoder.step

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Builds encoder and decoder with a bundle's weights."""
        return cls(Encoder(bundle.config.encoder, bundle.weights), Decoder(bundle.config, bundle.weights))

    def warm_up(self) -> None:
        """Runs everything once; see `Engine.warm_up`."""
        run_once(self)

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        with torch.inference_mode():
            features, probabilities = self._run_encoder(torch.tensor(images))  # a copy: images may be read-only
            return Encoded(features, probabilities.numpy())

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        with torch.inference_mode():
            log_probs, ids, state = self._run_start(features)
            return log_probs.numpy(), ids.numpy(), state

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        with torch.inference_mode():
            log_probs, ids, state = self._run_step(torch.from_numpy(tokens), torch.from_numpy(parents), state)
            return log_probs.numpy(), ids.numpy(), state


class Encoder(nn.Module):  # type: ignore[misc]
    """The encoder of `model.encoder.build_encoder`, batch norm and residual branches folded.

    Convolutions that are identities are left out, as in our CPU engine's files: behind a ReLU nothing changes.

    Args:
        config: The architecture.
        weights: Of a bundle.
    """

    def __init__(self, config: EncoderConfig, weights: Weights) -> None:
        super().__init__()
        self._config = config
        self._activation = nn.functional.relu6 if config.activation == "relu6" else torch.relu
        left_out = identity_convolutions(weights)
        names = [[f"{block.name}_conv{index + 1}" for index in range(block.convolutions)] for block in BLOCKS]
        names = [[name for name in block if name not in left_out] for block in names]
        self.blocks = nn.ModuleList(nn.ModuleList(_convolution(weights, name) for name in block) for block in names)
        self.fc1, self.fc2, self.predictions = (
            _linear(weights, f"encoder/{name}") for name in ("fc1", "fc2", "predictions")
        )
        self.register_buffer("mean", torch.tensor((103.939, 116.779, 123.68)))

    def forward(self, images: Any) -> tuple[Any, Any]:
        """Returns features (B, D) and class probabilities (B, C) of RGB images (B, 224, 224, 3), uint8."""
        values = images.float()
        values = values / 127.5 - 1 if self._config.normalization == "unit" else values.flip(3) - self.mean
        values = values.permute(0, 3, 1, 2)  # (B, C, H, W)
        if self._config.input_pooling > 1:
            values = nn.functional.avg_pool2d(values, self._config.input_pooling)
        for block in self.blocks:
            for convolution in block:
                values = self._activation(convolution(values))
            values = nn.functional.max_pool2d(values, 2)
        maps = values
        average = self._config.pooling == "average"
        values = values.mean((2, 3)) if average else values.permute(0, 2, 3, 1).flatten(1)
        fc = torch.relu(self.fc2(torch.relu(self.fc1(values))))
        return self._features(maps, fc), torch.softmax(self.predictions(fc), 1)

    def _features(self, maps: Any, fc: Any) -> Any:
        """Returns what the decoder reads of the last maps (B, C, H, W) and the second FC layer (B, F)."""
        kind = self._config.features
        if kind == "fc2":
            return fc
        if kind == "grid":
            side = maps.shape[2]
            quarters = nn.functional.avg_pool2d(maps, -(-side // 2), max(1, side // 2))
            return quarters.permute(0, 2, 3, 1).flatten(1)
        more = {"average": [], "average_max": [maps.amax((2, 3))], "average_fc2": [fc]}[kind]
        return torch.cat([maps.mean((2, 3)), *more], 1)


class Decoder(nn.Module):  # type: ignore[misc]
    """The decoder of `model.decoder.Decoder`, with the best words.

    Args:
        config: The architecture.
        weights: Of a bundle.
    """

    def __init__(self, config: CaptionerConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config.decoder
        self.candidates = min(MAX_BEAM_SIZE, config.decoder.vocabulary_size)
        projects = config.decoder.project_features
        self.projection = _linear(weights, "decoder/projection") if projects else nn.Identity()
        self.embedding = nn.Embedding.from_pretrained(_tensor(weights["decoder/embedding/embeddings"]))
        self.cells = nn.ModuleList(GRUCell(weights, f"decoder/gru_{index + 1}") for index in range(self.config.layers))
        tied = self.config.tied_embeddings
        size = self.config.vocabulary_size
        self.bottleneck = _linear(weights, "decoder/bottleneck") if tied else nn.Identity()
        kernel = weights["decoder/embedding/embeddings"].T if tied else weights["decoder/output/kernel"]
        self.output = _dense(kernel, weights["decoder/output/bias"])
        self.register_buffer("barred_first", _barred(size, (PAD_ID, UNKNOWN_ID, END_ID)))
        self.register_buffer("barred", _barred(size, (PAD_ID, UNKNOWN_ID)))

    def start(self, features: Any) -> tuple[Any, Any, Any]:
        """Reads features (B, D); returns log-probabilities and ids (B, M) of the best first words, and the state."""
        image = self.projection(features)
        return self.advance(image, self.first_state(image), self.barred_first)

    def step(self, tokens: Any, parents: Any, state: Any) -> tuple[Any, Any, Any]:
        """Continues the rows `parents` of the state with `tokens` (N,)."""
        return self.advance(self.embedding(tokens), state[parents], self.barred)

    def first_state(self, image: Any) -> Any:
        """Returns the state (B, S) before a projected image (B, E)."""
        zeros = torch.zeros((image.shape[0], self.config.layers * self.config.units))
        return torch.cat([zeros, image], 1) if self.config.image_every_step else zeros

    def advance(self, values: Any, state: Any, barred: Any) -> tuple[Any, Any, Any]:
        """Runs the cells on values (N, E) and a state (N, S), and takes the best words that are not barred."""
        units = self.config.units
        image = state[:, self.config.layers * units :]  # (N, E), or (N, 0)
        values = torch.cat([values, image], 1)
        states = []
        for index, cell in enumerate(self.cells):
            outputs = cell(values, state[:, index * units : (index + 1) * units])  # (N, U)
            states.append(outputs)
            values = outputs + values if index and self.config.residual else outputs
        log_probs = torch.log_softmax(self.output(self.bottleneck(values)), 1)  # (N, V)
        best = torch.topk(log_probs + barred, self.candidates)
        return best.values, best.indices.int(), torch.cat([*states, image], 1)


class GRUCell(nn.Module):  # type: ignore[misc]
    """Keras's GRU cell with `reset_after`: gates in the order update, reset, candidate.

    Args:
        weights: Of a bundle.
        name: Of the layer, as in the bundle.
    """

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        inputs, recurrent = weights[f"{name}/bias"]
        self.inputs = _dense(weights[f"{name}/kernel"], inputs)
        self.recurrent = _dense(weights[f"{name}/recurrent_kernel"], recurrent)

    def forward(self, values: Any, state: Any) -> Any:
        """Returns the next state (N, U)."""
        update, reset, candidate = self.inputs(values).chunk(3, 1)
        recurrent_update, recurrent_reset, recurrent_candidate = self.recurrent(state).chunk(3, 1)
        kept = torch.sigmoid(update + recurrent_update)
        proposed = torch.tanh(candidate + torch.sigmoid(reset + recurrent_reset) * recurrent_candidate)
        return proposed + kept * (state - proposed)


def _tensor(value: npt.NDArray[Any]) -> Any:
    return torch.from_numpy(np.ascontiguousarray(value, np.float32))


def _barred(size: int, words: tuple[int, ...]) -> Any:
    """Returns a mask to add to log-probabilities: minus infinity for these words, else 0. Shape (1, V)."""
    barred = torch.zeros((1, size))
    barred[:, words] = -torch.inf
    return barred


def _dense(kernel: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Any:
    layer = nn.utils.skip_init(nn.Linear, *kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(_tensor(kernel.T))
        layer.bias.copy_(_tensor(bias))
    return layer


def _linear(weights: Weights, name: str) -> Any:
    return _dense(weights[f"{name}/kernel"], weights[f"{name}/bias"])


def _convolution(weights: Weights, name: str) -> Any:
    kernel = weights[f"encoder/{name}/kernel"]
    bias = weights[f"encoder/{name}/bias"]
    layer = nn.utils.skip_init(nn.Conv2d, kernel.shape[2], kernel.shape[3], 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(_tensor(kernel.transpose(3, 2, 0, 1)))
        layer.bias.copy_(_tensor(bias))
    return layer
