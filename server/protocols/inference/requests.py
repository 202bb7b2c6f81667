"""Bodies of the Open Inference Protocol's requests. Fields that are not here are ignored."""

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from model.config import MAX_CLASSES

LENGTH_HEADER = "Inference-Header-Content-Length"
"""Header with the length of the JSON in front of binary tensors."""

CLASSES = 5
"""Classes of each photo, unless the request says another number."""

OutputName = Literal["caption", "log_probability", "classes", "scores"]
OUTPUTS: tuple[OutputName, ...] = ("caption", "log_probability", "classes", "scores")

Base64 = Annotated[str, Meta(description="A photo in base64.", extra_json_schema={"format": "byte"})]
Side = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class InferInputParameters(Struct):
    """Parameters of an input; others are ignored."""

    binary_data_size: Annotated[int, Meta(ge=0, description="Bytes of the tensor in the binary data.")] | None = None


class InferInput(Struct):
    """A tensor of photos."""

    name: Literal["image"]
    datatype: Literal["BYTES"]
    shape: Annotated[list[Side], Meta(min_length=1, max_length=2, description="[N] or [N, 1].")]
    data: list[Base64 | list[Base64]] | None = None
    parameters: InferInputParameters | None = None


class InferOutputParameters(Struct):
    """Parameters of an output; others are ignored."""

    binary_data: Annotated[bool, Meta(description="Whether it is answered as binary data.")] | None = None
    classification: (
        Annotated[int, Meta(ge=0, le=MAX_CLASSES, description="Number of classes, as `score:id:label`.")] | None
    ) = None


class InferRequestedOutput(Struct):
    """A requested output."""

    name: OutputName
    parameters: InferOutputParameters | None = None


class InferParameters(Struct):
    """Parameters of a request; others are ignored."""

    binary_data_output: Annotated[bool, Meta(description="Whether outputs are answered as binary data.")] | None = None


class InferBody(Struct):
    """The JSON of a request."""

    inputs: Annotated[list[InferInput], Meta(min_length=1, max_length=1)]
    id: Annotated[str, Meta(max_length=200)] = ""
    outputs: Annotated[list[InferRequestedOutput], Meta(max_length=len(OUTPUTS))] | None = None
    parameters: InferParameters | None = None


class Output(NamedTuple):
    """A requested output: its name, whether it is binary, and whether classes are written as `score:id:label`."""

    name: OutputName
    is_binary: bool
    is_ranking: bool = False


class Form(NamedTuple):
    """The form of an answer."""

    id: str
    outputs: list[Output]
