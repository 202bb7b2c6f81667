"""Answers as the Image Caption Generator of IBM's Model Asset Exchange (MAX) does: a form in, captions out."""

from flask import Response, request

from server.bodies import read_body
from server.envelopes import HOST, Advice
from server.errors import MalformedBodyError
from server.protocols.asking import Asker, Wish
from server.protocols.max.answers import MaxAnswer, MaxLabel, MaxLabels, MaxMetadata, MaxPrediction
from server.protocols.streams import as_json
from server.uploads import FIELD, images_in

CAPTIONS = 3
"""Captions of an answer, as many as MAX gives."""

FORM_TYPE = "multipart/form-data"
ADVICE = Advice(
    url=f"{HOST}/model/predict",
    hint=f"send the photo as {FORM_TYPE} in the field {FIELD!r}",
    base64="decode it before it is sent",
)


def predict(asker: Asker) -> Response:
    """Captions the photo of a form.

    Raises:
        CaptionerError: It cannot be captioned.
    """
    _, (answer,) = asker.answer(lambda: _wish(asker))
    captions = answer.prediction.captions
    return as_json(MaxAnswer([MaxPrediction(str(i), item.text, item.probability) for i, item in enumerate(captions)]))


def _wish(asker: Asker) -> Wish[None]:
    """Reads a form with one photo. Unlike `/v1/predict`, a raw body and further photos are refused."""
    body = read_body(request, asker.settings.max_body_bytes)
    if request.mimetype != FORM_TYPE:
        received = repr(request.mimetype[:50]) if request.mimetype else "none"
        raise MalformedBodyError(
            f"expected {FORM_TYPE} with the photo in the field {FIELD!r}, received the type {received}; "
            f"{ADVICE.example}"
        )
    return Wish(images=images_in(body, request, 1, ADVICE), rest=None, captions=CAPTIONS)


def metadata(asker: Asker) -> Response:
    """Tells what the model is."""
    config = asker.config
    about = f"Show and Tell, version {config.version}: an encoder of photos, and a decoder that writes a sentence."
    return as_json(
        MaxMetadata(config.name, config.name, about, "Image-to-Text Translation", "https://arxiv.org/abs/1411.4555")
    )


def labels(asker: Asker) -> Response:
    """Tells the classes."""
    found = [MaxLabel(item.id, item.label) for item in asker.classes]
    return as_json(MaxLabels(len(found), found))
