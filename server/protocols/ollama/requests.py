"""The bodies of Ollama's requests. Fields that are not here are ignored."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Photo = Annotated[str, Meta(description="A photo as base64 or a data URI.", extra_json_schema={"format": "byte"})]
ModelName = Annotated[str, Meta(description="Any name. The served model answers, under its own name.")]
Format = Annotated[
    Literal["", "json"] | dict[str, Any] | None,
    Meta(description="Empty for text, `json` for labels, or a JSON schema of captions and labels."),
]
Streams = Annotated[bool | None, Meta(description="Whether to stream the answer, a line for each word; the default.")]


class OllamaGenerateBody(Struct):
    """A request for a text. The prompt and all options are ignored: a caption answers no question."""

    model: ModelName
    prompt: str | None = None
    images: list[Photo] | None = None
    format: Format = None
    stream: Streams = None

    @property
    def photos(self) -> list[str]:
        """Returns the photos, as they were sent."""
        return self.images or []

    @property
    def only_loads(self) -> bool:
        """Returns whether the request only asks to load the model, as clients do before they use it."""
        return not self.prompt and not self.images


class OllamaMessage(Struct):
    """A message; photos are taken from the last one of the role `user`."""

    role: str = ""
    images: list[Photo] | None = None


class OllamaChatBody(Struct):
    """A request for the next message. All texts, tools and options are ignored."""

    model: ModelName
    messages: list[OllamaMessage] | None = None
    format: Format = None
    stream: Streams = None

    @property
    def photos(self) -> list[str]:
        """Returns the photos of the last message of a user, as they were sent."""
        last = (message.images for message in reversed(self.messages or []) if message.role == "user")
        return next(last, None) or []

    @property
    def only_loads(self) -> bool:
        """Returns whether the request only asks to load the model."""
        return not self.messages


class OllamaShowBody(Struct):
    """A request for a model's metadata. Older clients send the model as `name`."""

    model: ModelName | None = None
    name: ModelName | None = None
