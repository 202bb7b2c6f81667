"""Errors of requests. They know no HTTP: `server/problems.py` gives each its status.

A message about a value says what was expected, what was received and what to do. A message about a state says what is
so and what to do.
"""

from model.errors import CaptionerError, ImageError


class ParameterError(CaptionerError):
    """A parameter is unknown, repeated, out of its range or cannot be met."""


class UnauthorizedError(CaptionerError):
    """A request has no API key, or an unknown one."""


class MalformedBodyError(CaptionerError):
    """A request body is empty, ends early or has the wrong form."""


class BodyTooLargeError(CaptionerError):
    """A request body has more bytes than the limit allows."""


class UnsupportedCodingError(CaptionerError):
    """A request body is compressed in a way that is not known here."""


class SlowClientError(CaptionerError):
    """A request took too long to arrive."""


class NotReadyError(CaptionerError):
    """The captioner is still loading, or the server is shutting down."""


class QueueFullError(CaptionerError):
    """The queue of images is full."""


class DeadlineExceededError(CaptionerError):
    """The deadline of a request passed before it was answered."""


class CostlyImageError(ImageError):
    """An image crashed its decoder, or took too much processor time."""


class OutOfResourcesError(CaptionerError):
    """The system has no memory, process or file descriptor left for a request."""


class ModelNotFoundError(CaptionerError):
    """A request names a model that is not served."""


class NotServedError(Exception):
    """A path is not served on the port that was asked; such a request never reaches the application."""
