"""Bodies of OpenAI's requests. Fields that are not here are ignored."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from model.config import MAX_BEAM_SIZE

DataUri = Annotated[str, Meta(description="A photo as a data URI or base64.", extra_json_schema={"format": "byte"})]
ModelName = Annotated[str, Meta(description="Any name. The served model answers, under its own name.")]
Captions = Annotated[int, Meta(ge=1, le=MAX_BEAM_SIZE, description="Captions to return, best first.")]
Streams = Annotated[bool, Meta(description="Whether to answer by server-sent events.")]


class ChatImage(Struct):
    """A photo in a message."""

    url: DataUri


class ChatPart(Struct):
    """A part of a message: a photo, or anything else, which is ignored. In a response's input the photo is a text."""

    type: str = ""
    image_url: ChatImage | DataUri | None = None


class ChatMessage(Struct):
    """A message; photos are taken from the last one of the role `user`."""

    role: str = ""
    content: str | list[ChatPart] | None = None


class JsonSchema(Struct):
    """A JSON schema of the answer."""

    schema: dict[str, Any] = {}


class ChatFormat(Struct):
    """The form of the text: `text`, `json_object` or `json_schema`."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(Struct):
    """Options of a stream."""

    include_usage: bool | None = None


class ChatBody(Struct):
    """A request for a chat completion. Texts and settings of sampling are ignored: a caption answers no question."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: ModelName | None = None
    n: Captions | None = None
    logprobs: bool | None = None
    response_format: ChatFormat | None = None
    stream: Streams | None = None
    stream_options: StreamOptions | None = None


class ResponseFormat(Struct):
    """The form of the text: `text`, `json_object` or `json_schema`."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] | None = None


class ResponseText(Struct):
    """The options of the text."""

    format: ResponseFormat | None = None


class ResponseBody(Struct):
    """A request for a response. Texts, tools and settings of sampling are ignored."""

    input: str | list[ChatMessage]
    model: ModelName | None = None
    text: ResponseText | None = None
    include: list[str] | None = None
    stream: Streams | None = None
