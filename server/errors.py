"""Errors of requests. They know no HTTP: `server/problems.py` gives each its status.

A message about a value says what was expected, what was received and what to do. A message about a state says what is
so and what to do.
"""

from model.errors import CaptionerError, ImageError


class ParameterError(CaptionerError):
    """A query parameter is unknown, repeated or out of its range."""


class UnauthorizedError(CaptionerError):
    """A request has no key, or one that is not among those accepted."""


class MalformedBodyError(CaptionerError):
    """A request body is empty, ends early or has the wrong form."""


class BodyTooLargeError(CaptionerError):
    """A request body has more bytes than the limit allows."""


class SlowClientError(CaptionerError):
    """A request did not arrive within the time allowed for it."""


class NotReadyError(CaptionerError):
    """The captioner is still being loaded, or the server is about to stop."""


class QueueFullError(CaptionerError):
    """As many images are waiting already as the queue holds."""


class DeadlineExceededError(CaptionerError):
    """The time allowed for a request ran out before it was answered."""


class CostlyImageError(ImageError):
    """An image ended its decoder, or took more processor time than one may."""


class OutOfResourcesError(CaptionerError):
    """The system had no memory, process or file descriptor left for a request."""


class NotServedError(Exception):
    """A path is not served on the port that was asked; such a request never reaches the application."""
