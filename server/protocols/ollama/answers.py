"""The bodies of Ollama's answers."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Nanoseconds = Annotated[int, Meta(description="In nanoseconds.")]


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
