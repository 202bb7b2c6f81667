"""The views of the Open Inference Protocol."""

from flask import Response

from server.bodies import json_limit
from server.errors import ModelNotFoundError
from server.metrics import project_version
from server.problems import Json
from server.protocols.asking import Asker
from server.protocols.inference.answers import InferModel, InferServer, InferTensor, described_outputs, infer_answer
from server.protocols.inference.reading import read_infer
from server.protocols.inference.tensors import INPUT
from server.protocols.streams import as_json


def server(asker: Asker) -> Response:
    """Answers with the server's metadata."""
    del asker
    return as_json(InferServer("show-and-tell", project_version(), ["binary_tensor_data", "classification"]))


def live(asker: Asker) -> Json:
    """Answers as long as the process lives."""
    del asker
    return {"live": True}


def ready(asker: Asker) -> Json:
    """Answers if a photo would be captioned now; see `Asker.check`."""
    asker.check()
    return {"ready": True}


def model(asker: Asker, model: str, version: str | None = None) -> Response:
    """Answers with a model's metadata.

    Raises:
        ModelNotFoundError: It is not the one that serves.
    """
    asker.check_model(model, version)
    tensor = InferTensor(INPUT, "BYTES", [-1])
    return as_json(InferModel(model, [asker.config.version], "show-and-tell", [tensor], described_outputs()))


def model_ready(asker: Asker, model: str, version: str | None = None) -> Json:
    """Answers if a model would caption a photo now.

    Raises:
        ModelNotFoundError: It is not the one that serves.
    """
    if not asker.serves(model, version):
        # The served model's name is left out, because this route needs no key.
        raise ModelNotFoundError(f"the model {model[:50]!r} is not served here; ask for the one that is")
    asker.check()
    return {"name": model, "ready": True}


def infer(asker: Asker, model: str, version: str | None = None) -> Response:
    """Answers a request for inference.

    Raises:
        CaptionerError: It cannot be answered.
    """
    asker.check_model(model, version)
    form, answers = asker.answer(lambda: read_infer(asker), json_limit(asker.settings.max_body_bytes))
    return infer_answer(form, asker.config, answers)
