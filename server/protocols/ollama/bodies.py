"""The bodies of Ollama's requests and answers. Fields of requests that are not here are ignored."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Photo = Annotated[str, Meta(description="A photo as base64 or a data URI.", extra_json_schema={"format": "byte"})]
ModelName = Annotated[str, Meta(description="Any name. The served model answers, under its own name.")]
Format = Annotated[
    Literal["", "json"] | dict[str, Any] | None,
    Meta(description="Empty for text, `json` for labels, or a JSON schema of captions and labels."),
]
Streams = Annotated[bool | None, Meta(description="Whether to stream the answer, a line for each word; the default.")]
Nanoseconds = Annotated[int, Meta(description="In nanoseconds.")]


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


class OllamaAnswer(Struct, kw_only=True):
    """Fields of every answer. Those from `done_reason` on are only in the last line of a stream."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "load"] | UnsetType = UNSET
    total_duration: Nanoseconds | UnsetType = UNSET
    load_duration: Nanoseconds | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: Nanoseconds | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: Nanoseconds | UnsetType = UNSET


class OllamaGenerateAnswer(OllamaAnswer, kw_only=True):
    """A caption or, in a stream, one word of it; for several photos one caption a line."""

    response: str


class OllamaAnswerMessage(Struct):
    """The message of an answer."""

    content: str
    role: Literal["assistant"] = "assistant"


class OllamaChatAnswer(OllamaAnswer, kw_only=True):
    """A caption as a message or, in a stream, one word of it; for several photos one caption a line."""

    message: OllamaAnswerMessage


class OllamaDetails(Struct):
    """Family and file format of a model."""

    parent_model: str = ""
    format: str = "safetensors"
    family: str = "show-and-tell"
    families: list[str] = field(default_factory=lambda: ["show-and-tell"])
    parameter_size: str = ""
    quantization_level: str = ""


class OllamaModel(Struct):
    """A model. The digest is that of its configuration."""

    name: str
    model: str
    modified_at: str
    digest: str
    size: int = 0
    details: OllamaDetails = field(default_factory=OllamaDetails)


class OllamaModels(Struct):
    """The models that are served: one."""

    models: list[OllamaModel]


class OllamaShown(Struct):
    """Metadata of a model."""

    modified_at: str
    model_info: dict[str, str | int]
    capabilities: list[Literal["completion", "vision"]] = field(default_factory=lambda: ["completion", "vision"])
    details: OllamaDetails = field(default_factory=OllamaDetails)
    modelfile: str = ""
    parameters: str = ""
    template: str = ""


class OllamaVersion(Struct):
    """The version of Ollama's API that is implemented."""

    version: str


class OllamaError(Struct):
    """The body of an error."""

    error: str
