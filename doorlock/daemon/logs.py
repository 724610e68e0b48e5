"""The daemon's own log: on stderr, as lines for people or JSON, with priorities under systemd."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import orjson
import structlog

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure(level: str, log_format: str, env: Mapping[str, str], out: TextIO) -> None:
    """Set up structlog and the standard library's logging, which the libraries use."""
    as_json = log_format == "json"
    for_journal = "JOURNAL_STREAM" in env
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
    ]
    if not for_journal or as_json:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    shared.append(_line_as_json if as_json else _line(for_journal))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_level(level)),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def _level(name: str) -> int:
    return logging.getLevelNamesMapping()[name.upper()]


def _line_as_json(_: Any, __: str, event: structlog.typing.EventDict) -> str:
    return orjson.dumps(event, default=str).decode()


def _line(for_journal: bool) -> structlog.typing.Processor:
    def line(_: Any, __: str, event: structlog.typing.EventDict) -> str:
        level, message = event.pop("level", "info"), event.pop("event", "")
        when, trace = event.pop("timestamp", ""), event.pop("exception", None)
        rest = " ".join(f"{key}={value!r}" for key, value in event.items())
        head = f"<{_PRIORITY[level]}>" if for_journal else f"{when} {level:7} "
        return f"{head}{message} {rest}".rstrip() + (f"\n{trace}" if trace else "")

    return line


class _Bridge(logging.Handler):
    """What libraries log goes the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        level = record.levelname.lower()
        say = getattr(log, level if level in _PRIORITY else "warning")
        say(record.getMessage(), logger=record.name, exc_info=record.exc_info or None)


def to_stderr(level: str, log_format: str) -> None:
    configure(level, log_format, os.environ, sys.stderr)
