"""Log lines that can be followed: each carries the numbers of the request and of the order."""

import json
import logging
import re
from datetime import UTC, datetime

from accounts import trace

# What may not stand in a line of text: a log line must not be able to forge another.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class ContextFilter(logging.Filter):
    """Adds `request_id` and `order_id` to every record; lets all of them through."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django speaks about a finished request too, and then names it.
        finished = getattr(getattr(record, "request", None), "number", "-")
        current = trace.request_id()
        record.request_id = finished if current == "-" else current
        record.order_id = trace.order_id()
        return True


class TextFormatter(logging.Formatter):
    """One line per record, and its traceback indented below it."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s [%(request_id)s %(order_id)s] %(message)s"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return super().formatException(ei).replace("\n", "\n  ")  # type: ignore[arg-type]


class JsonFormatter(logging.Formatter):
    """One JSON object per line; numbers that are not there are left out."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "order_id"):
            value = getattr(record, name, "-")
            if value != "-":
                line[name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def config(style: str, level: str) -> dict[str, object]:
    """Django's LOGGING for `text` or `json` lines."""
    formatter = "panel.logs.JsonFormatter" if style == "json" else "panel.logs.TextFormatter"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "filters": {"context": {"()": "panel.logs.ContextFilter"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["context"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "celery": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
            # Its own handler would say everything twice, without the numbers.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        },
    }
