"""The log: one line for each request, as JSON or as text, with the request's id.

Of what a client sends, only the method and the id are logged: a path may be a file name (`curl -T photo.jpg`), so
the route's template is logged, and a query may hold anything.
"""

import json
import logging
import os
import re
import select
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, has_request_context, request
from gunicorn.glogging import Logger

from model.ranges import check_choice
from server.metrics import ServerMetrics
from server.problems import kind_of
from server.settings import LOG_FORMATS, LogFormat

REQUEST_ID = "X-Request-ID"
"""Header with a request's id, in requests and answers."""

UNKNOWN_ROUTE = "unknown"
"""Route of all unknown paths."""

REQUEST_ID_PATTERN = "[A-Za-z0-9._-]{1,64}"
"""Form of a client's id that the server accepts."""

_STANDARD_ERROR = 2
_PATIENCE_MILLISECONDS = 50

_access_logger = logging.getLogger("server.access")


class JsonFormatter(logging.Formatter):
    """A formatter that writes one JSON object on one line: time, level, logger, message, and further fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := _id_of(record):
            entry["request_id"] = identity
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A formatter that writes text, with the request's id at the end."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Returns the line without the traceback."""
        identity = _id_of(record)
        return super().formatMessage(record) + (f" [{identity}]" if identity else "")


class LineHandler(logging.Handler):
    """A handler that writes each record with one system call, and drops a record that cannot be written soon.

    A buffer would keep what a full disk or a closed pipe did not take, and fail later, in the middle of a
    request or at the end of the process.

    Args:
        descriptor: The file's.

    Attributes:
        dropped: Number of dropped records.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLOUT)
        self._patience_milliseconds = _PATIENCE_MILLISECONDS
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        try:
            line = (self.format(record) + "\n").encode(errors="backslashreplace")
            # If the reader of the log has stopped, later lines do not wait for it again.
            is_ready = bool(self._poller.poll(self._patience_milliseconds))
            self._patience_milliseconds = _PATIENCE_MILLISECONDS if is_ready else 0
            is_whole = is_ready and os.write(self._descriptor, line) == len(line)
        except OSError:
            is_whole = False
        except Exception:  # noqa: BLE001 - a record that cannot be formatted must not break the code that logs it
            self.handleError(record)
            return
        if not is_whole:
            self.dropped += 1


def dropped_lines() -> int:
    """Returns the number of log lines that this process could not write."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LineHandler))


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, with its records sent to the root handler."""

    def setup(self, cfg: Any) -> None:
        """Sets up gunicorn's logger without its own handlers; called by gunicorn."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def configure_logs(log_format: LogFormat) -> None:
    """Sends every record to standard error; `auto` means text on a terminal and JSON elsewhere.

    Raises:
        ConfigError: There is no such format.
    """
    check_choice("log_format", log_format, LOG_FORMATS)
    if log_format == "auto":
        log_format = "text" if sys.stderr.isatty() else "json"
    handler = LineHandler(_STANDARD_ERROR)
    text = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def new_request_id() -> str:
    """Returns an id for a request without one."""
    return uuid.uuid4().hex


def register_logs(app: Flask, metrics: ServerMetrics) -> None:
    """Makes `app` identify, count, time and log every request.

    Call this before any other function that registers request handlers.
    """

    def begin() -> None:
        g.started = time.monotonic()
        given = request.headers.get(REQUEST_ID, "")
        g.request_id = given if re.fullmatch(REQUEST_ID_PATTERN, given) else new_request_id()

    def finish(response: Response) -> Response:
        seconds = time.monotonic() - g.started
        route = UNKNOWN_ROUTE if request.url_rule is None else request.url_rule.rule
        problem = g.get("problem")
        metrics.observe(route, request.method, response.status_code, seconds)
        if problem is not None and route != "/readyz":
            metrics.rejects.labels(kind_of(problem)).inc()
        response.headers[REQUEST_ID] = g.request_id
        fields = {
            "method": request.method,
            "route": route,
            "status": response.status_code,
            "seconds": round(seconds, 4),
        }
        log_request(fields if problem is None else {**fields, "problem": problem})
        return response

    metrics.dropped_log_lines.set_function(dropped_lines)
    app.before_request(begin)
    app.after_request(finish)


def log_request(fields: Mapping[str, object], request_id: str | None = None) -> None:
    """Logs one line for a request.

    Args:
        fields: The known ones of `method`, `route`, `status`, `seconds` and `problem`, in this order.
        request_id: Its id, if it never reached the application.
    """
    message = " ".join(f"{value} s" if name == "seconds" else str(value) for name, value in fields.items())
    _access_logger.info("%s", message, extra={"fields": fields, "request_id": request_id})


def _id_of(record: logging.LogRecord) -> str | None:
    known: str | None = getattr(record, "request_id", None)
    return g.get("request_id") if known is None and has_request_context() else known
