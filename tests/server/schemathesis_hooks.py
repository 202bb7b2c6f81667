"""What schemathesis cannot know from the description of the API: what an image is, and what no schema can say."""

import base64
import io
import json
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from schemathesis.openapi.checks import RejectedPositiveData

from model.config import SearchConfig
from model.image import FORMATS
from server.api import PARAMETERS
from server.settings import PROTOCOL_NAMES


def _drawn(name: str) -> bytes:
    image = Image.new("RGB", (24, 16), "skyblue")
    ImageDraw.Draw(image).ellipse((4, 4, 16, 12), fill="saddlebrown")
    buffer = io.BytesIO()
    image.save(buffer, name)
    return buffer.getvalue()


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

    The last message of a user has photos. `captions` is at most `beam_size`. Parameters are in the query or in the
    JSON, and none is written like `3.0`. A photo as the body is not empty, of whatever type it is said to be.
    """
    del context
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    if set(case.operation.tags) & set(PROTOCOL_NAMES) or not response.request.body:
        return False
    body = case.body if isinstance(case.body, dict) else {}
    query = case.query or {}
    given = {name: body[name] for name in PARAMETERS if name in body}
    if (query and given) or any(isinstance(value, float) for value in given.values()):
        return False
    both = {**query, **given}
    return not int(both.get("captions", 0)) > int(both.get("beam_size", SearchConfig().beam_size))
