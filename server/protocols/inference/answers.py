"""Answers of the Open Inference Protocol: a tensor for each output, in the JSON or behind it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec
from flask import Response
from msgspec import Struct

from model.captioner import ClassPrediction, Prediction
from model.config import CaptionerConfig
from server.protocols.inference.requests import LENGTH_HEADER, Form, Output, OutputName
from server.protocols.inference.tensors import write_numbers, write_texts
from server.service import Answered


class InferOutput(Struct, omit_defaults=True):
    """A tensor: `data` in row-major order, or its size behind the JSON."""

    name: OutputName
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    data: list[str | float] | None = None
    parameters: dict[str, int] | None = None


class InferAnswer(Struct, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[InferOutput]
    id: str = ""


class InferError(Struct):
    """The body of an error."""

    error: str


class InferTensor(Struct):
    """Name, type and shape of a tensor; -1 in a shape is any number."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class InferModel(Struct):
    """Metadata of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[InferTensor]
    outputs: list[InferTensor]


class InferServer(Struct):
    """Metadata of a server."""

    name: str
    version: str
    extensions: list[str]


class _Kind(NamedTuple):
    """One kind of output: the type of its elements, its shape for any number of photos, and a photo's elements."""

    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    values: Callable[[Prediction], list[Any]]


_KINDS: Mapping[OutputName, _Kind] = MappingProxyType(
    {
        "caption": _Kind("BYTES", [-1], lambda answer: [answer.captions[0].text]),
        "log_probability": _Kind("FP32", [-1], lambda answer: [min(answer.captions[0].log_probability, 0.0)]),
        "classes": _Kind("BYTES", [-1, -1], lambda answer: [item.label for item in answer.classes]),
        "scores": _Kind("FP32", [-1, -1], lambda answer: [item.probability for item in answer.classes]),
    }
)


def described_outputs() -> list[InferTensor]:
    """Returns name, type and shape of every output."""
    return [InferTensor(name, kind.datatype, kind.shape) for name, kind in _KINDS.items()]


def infer_answer(form: Form, config: CaptionerConfig, answers: Sequence[Answered]) -> Response:
    """Returns the answer to a request."""
    outputs = []
    tensors = []
    for wanted in form.outputs:
        output = _output(wanted, [answer.prediction for answer in answers])
        if wanted.is_binary:
            # The elements have the output's type: texts for BYTES, numbers for FP32.
            elements: list[Any] = output.data or []
            tensor = write_texts(elements) if output.datatype == "BYTES" else write_numbers(elements)
            output = msgspec.structs.replace(output, data=None, parameters={"binary_data_size": len(tensor)})
            tensors.append(tensor)
        outputs.append(output)
    head = msgspec.json.encode(InferAnswer(config.name, config.version, outputs, form.id))
    if not tensors:
        return Response(head, content_type="application/json")
    headers = {LENGTH_HEADER: str(len(head))}
    return Response(head + b"".join(tensors), headers=headers, content_type="application/octet-stream")


def _output(wanted: Output, predictions: Sequence[Prediction]) -> InferOutput:
    kind = _KINDS[wanted.name]
    rows = [
        list(map(_ranked, prediction.classes)) if wanted.is_ranking else kind.values(prediction)
        for prediction in predictions
    ]
    shape = [len(rows), len(rows[0])][: len(kind.shape)]
    return InferOutput(wanted.name, kind.datatype, shape, [element for row in rows for element in row])


def _ranked(item: ClassPrediction) -> str:
    return f"{item.probability:.6f}:{item.id}:{item.label}"
