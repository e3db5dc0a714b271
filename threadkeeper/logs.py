"""Log lines for operators: JSON or plain text, on standard error, in UTC, without secrets.

Secrets are masked in the finished line, so that none appears in a traceback, an extra or the text of an error.
Libraries log warnings and errors only. At level DEBUG they log everything, except Amazon's libraries.
"""

import json
import logging
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from threadkeeper.settings.urls import MASK

_NOT_EXTRAS = (*RESERVED_ATTRS, "color_message")
_QUIET_LOGGERS = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "urllib3",
    "azure",
    "msal",
    "boto3",
    "botocore",
    "aiobotocore",
    "asyncio",
    "websockets",
    "socketio",
    "engineio",
    "watchfiles",
    "opentelemetry",
)
# At level DEBUG they log signatures, signed links and session tokens, which are not settings and so are not masked.
_NEVER_AT_DEBUG = ("botocore", "aiobotocore")
_EMPTY_WORDS = (
    ("chainlit", "Translation file for "),
    ("chainlit", "Translated markdown file for "),
    ("chainlit", "Created default translation "),
    ("uvicorn.error", "connection open"),
    ("uvicorn.error", "connection closed"),
    ("uvicorn.error", '%s - "WebSocket'),
)

_MOST_KEPT = 100
_LONGEST_KEPT = 1_000

# The login cookie and bearer tokens, which libraries log at level DEBUG.
_LOGIN = r"(?<=access_token=)[\w.-]+|(?<=access_token_\d=)[\w.-]+|(?<=Bearer )[\w.~+/=-]+"


def configure_logging(level: str, json: bool, secrets: Iterable[str] = ()) -> None:
    """Write the lines of all loggers to standard error in this format. A second call replaces the first.

    Args:
        level: minimum level, such as `INFO`.
        json: write each line as a JSON object with `time`, `level`, `logger`, `message` and the extras.
        secrets: values to mask in every line.
    """
    handler = _Handler()
    handler.setFormatter(_Json(secrets) if json else _Text(secrets))
    if level != "DEBUG":
        handler.addFilter(_has_information)
    root = logging.getLogger()
    for other in root.handlers[:]:
        # Handlers of `logging.basicConfig`, which Chainlit's command calls, and of an earlier call.
        if type(other) in (logging.StreamHandler, _Handler):
            root.removeHandler(other)
    root.addHandler(handler)
    _kept.redact = Redaction(secrets)
    root.addHandler(_kept)
    root.setLevel(level)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(level if level in ("DEBUG", "ERROR", "CRITICAL") else "WARNING")
    for name in _NEVER_AT_DEBUG:
        logging.getLogger(name).setLevel(max(logging.getLogger(name).level, logging.INFO))
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(capture=True)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Standard error; a class of its own, to recognise the handlers of this module."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A warning or an error. `at` is a UTC text; in `words`, secrets are masked."""

    at: str
    level: str
    logger: str
    words: str


class _Kept(logging.Handler):
    """Keeps the latest warnings and errors in memory, without secrets and without tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.redact = Redaction(())
        self.problems: deque[Problem] = deque(maxlen=_MOST_KEPT)
        self.addFilter(_has_information)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            words = record.getMessage()
        except (TypeError, ValueError):
            # The handler of standard error reports that the arguments do not fit.
            words = str(record.msg)
        if record.exc_info and record.exc_info[0] is not None:
            words = f"{words} ({record.exc_info[0].__name__}: {record.exc_info[1]})"
        shown = self.redact(words)[:_LONGEST_KEPT]
        self.problems.append(Problem(_utc(record), record.levelname, record.name, shown))


def recent_problems() -> list[Problem]:
    """The latest warnings and errors of this process, newest first, at most 100."""
    return list(_kept.problems)[::-1]


class Redaction:
    """Masks the secrets of one configuration in a text, and login cookies and bearer tokens."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])}
        patterns = [
            # A short secret can be part of an ordinary word; only whole words are masked.
            re.escape(form) if len(form) >= 12 else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
            if form
        ]
        self._pattern = re.compile("|".join([*patterns, _LOGIN]))
        # Almost no text contains a secret, and a search for a few substrings is a hundred times faster.
        self._signs = [*filter(None, forms), "access_token", "Bearer "]

    def __call__(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if any(sign in text for sign in self._signs) else text


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Json(JsonFormatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "error"},
            reserved_attrs=_NOT_EXTRAS,
            json_ensure_ascii=False,
        )
        self._redact = Redaction(secrets)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return _utc(record)

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class _Text(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._redact = Redaction(secrets)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return _utc(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        extras = "".join(f" {name}={value}" for name, value in record.__dict__.items() if name not in _NOT_EXTRAS)
        return super().formatMessage(record) + extras

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def _has_information(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.ERROR:
        return True
    return not any(record.name == name and str(record.msg).startswith(words) for name, words in _EMPTY_WORDS)


_kept = _Kept()
