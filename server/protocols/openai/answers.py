"""The bodies of OpenAI's answers."""

from typing import Any, Literal

import msgspec
from msgspec import Struct


class TokenLogprob(Struct):
    """A word with the space in front of it, and the logarithm of its probability given the words before it."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[Any] = []


class ChatLogprobs(Struct):
    """The words of a choice."""

    content: list[TokenLogprob]


class ChatAnswer(Struct):
    """The message of a choice."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(Struct):
    """One of the best captions; for several photos one caption a line."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop"] = "stop"


class ChatUsage(Struct):
    """Counts: photos as tokens of the prompt, and the words of all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(Struct):
    """Captions as a chat completion."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    object: Literal["chat.completion"] = "chat.completion"


class OutputText(Struct):
    """The text of a response."""

    text: str
    logprobs: list[TokenLogprob] = []
    annotations: list[Any] = []
    type: Literal["output_text"] = "output_text"


class OutputMessage(Struct):
    """The message of a response."""

    id: str
    content: list[OutputText]
    status: Literal["in_progress", "completed"] = "completed"
    role: Literal["assistant"] = "assistant"
    type: Literal["message"] = "message"


class ResponseUsage(Struct):
    """Counts: photos as tokens of the input, and words."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, int] = msgspec.field(
        default_factory=lambda: {"cached_tokens": 0, "cache_write_tokens": 0}
    )
    output_tokens_details: dict[str, int] = msgspec.field(default_factory=lambda: {"reasoning_tokens": 0})


class ResponseAnswer(Struct):
    """A caption as a response; for several photos one caption a line."""

    id: str
    created_at: int
    model: str
    output: list[OutputMessage]
    usage: ResponseUsage | None
    status: Literal["in_progress", "completed"] = "completed"
    object: Literal["response"] = "response"
    error: None = None
    incomplete_details: None = None
    instructions: None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = False
    temperature: None = None
    tool_choice: Literal["none"] = "none"
    tools: list[Any] = []
    top_p: None = None


class OpenAiProblem(Struct):
    """The reason of an error."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class OpenAiError(Struct):
    """The body of an error."""

    error: OpenAiProblem
