"""MAX's protocol: its routes and its errors."""

from server.description.operation import CAPTIONING, Operation
from server.description.schemas import reference
from server.errors import NotReadyError
from server.problems import ErrorForm, Json
from server.protocols.max.answers import MaxAnswer, MaxError, MaxLabels, MaxMetadata
from server.protocols.max.views import CAPTIONS, FORM_TYPE, labels, metadata, predict
from server.protocols.protocol import Protocol, Route, schemas_of
from server.uploads import FIELD


def _content(answer: str) -> Json:
    return {"application/json": {"schema": reference(answer)}}


def _operation(name: str, summary: str, about: str, answer: str) -> Operation:
    """Returns the description of a route that needs no photo."""
    return Operation(f"/model/{name}", f"max_{name}", "max", summary, about, _content(answer), (NotReadyError,))


_PREDICT = Operation(
    "/model/predict", "max_predict", "max", "Caption a photo as MAX does",
    f"Returns the {CAPTIONS} best captions, or fewer if the search finds fewer. Takes the formats of /v1/predict.",
    _content("MaxAnswer"), CAPTIONING, "post",
    body={
        "required": True,
        "description": "A form with the photo.",
        "content": {
            FORM_TYPE: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "additionalProperties": False,
                }
            }
        },
    },
    sample=f"-F {FIELD}=@photo.jpg",
)  # fmt: skip


def _error(members: Json) -> Json:
    return {"status": "error", "message": members["detail"]}


MAX = Protocol(
    name="max",
    about="IBM's MAX Image Caption Generator, for its web app and other clients of it.",
    routes=(
        Route(predict, _PREDICT),
        Route(metadata, _operation("metadata", "Model metadata", "Its name and where it comes from.", "MaxMetadata")),
        Route(labels, _operation("labels", "The classes", "Every class that the encoder knows.", "MaxLabels")),
    ),
    prefixes=("/model",),
    form=ErrorForm("application/json", _error, reference("MaxError")),
    schemas=schemas_of(MaxAnswer, MaxError, MaxLabels, MaxMetadata),
)
