"""What schemathesis cannot know from the description of the API: what an image is, and what no schema can say."""

import base64
import json
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from schemathesis.openapi.checks import RejectedPositiveData

from bench.hostile import encoded
from model.config import SearchConfig
from model.errors import SearchOptionError
from model.image import FORMATS
from model.options import OPTIONS, SearchOptions
from server.parameters import PARAMETERS
from server.settings import PROTOCOL_NAMES


def _drawn(name: str) -> bytes:
    image = Image.new("RGB", (24, 16), "skyblue")
    ImageDraw.Draw(image).ellipse((4, 4, 16, 12), fill="saddlebrown")
    return encoded(image, name)


SERVED = SearchConfig(max_words=6)
"""The search of the bundle that serves."""

PHOTOS = st.sampled_from([_drawn(name) for name in FORMATS])

# A schema can ask for bytes, not for an image: a good request is one with real images, in forms and as bodies.
schemathesis.openapi.format("binary", PHOTOS)
schemathesis.openapi.format("byte", PHOTOS.map(lambda data: base64.b64encode(data).decode()))
for _name in FORMATS:
    schemathesis.openapi.media_type(f"image/{_name.lower()}", PHOTOS)


@schemathesis.deserializer("application/x-ndjson")
def last_line(context: Any, response: Any) -> Any:
    """Returns the last line of a stream: each is an object of the same schema, and the last has all its fields."""
    del context
    return json.loads(response.content.splitlines()[-1])


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drops findings of requests that look good, because no schema can say what is wrong with them.

    The last message of a user has photos. Parameters fit each other and the model. They are in the query or in the
    JSON, and no whole number is written like `3.0`. A photo as the body is not empty, of whatever type. One photo is
    explained at a time.
    """
    del context
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    # A form without parts is not empty in itself.
    is_empty = not response.request.body or not case.body
    if set(case.operation.tags) & set(PROTOCOL_NAMES) or is_empty:
        return False
    body = case.body if isinstance(case.body, dict) else {}
    query = case.query or {}
    given = {name: body[name] for name in PARAMETERS if name in body}
    is_odd = any(isinstance(value, float) and PARAMETERS[name].kind is int for name, value in given.items())
    several = [value for value in (body.get("images"), body.get("image")) if isinstance(value, list) and len(value) > 1]
    explains = "explain" in query or "explain" in given
    return not (query and given) and not is_odd and not (several and explains) and _fits({**query, **given})


def _fits(given: dict[str, Any]) -> bool:
    """Returns whether parameters fit each other and the model that serves."""
    kinds = {name: PARAMETERS[name].kind for name in given}
    values = {name: value == "true" if kinds[name] is bool and isinstance(value, str) else kinds[name](value)
              for name, value in given.items()}  # fmt: skip
    options = SearchOptions(**{name: value for name, value in values.items() if name in OPTIONS})
    try:
        return bool(values.get("captions", 1) <= options.most_captions(SERVED))
    except SearchOptionError:
        return False
