"""Logs as JSON lines on standard error: `log_format: json` in corpus.yaml, or `--log-format json`.

One formatter serves the server's access log, messages of libraries, and the messages and events of
Dagster's runs, which bring the run, the drop and the stage with them.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Literal, get_args

LogFormat = Literal["text", "json"]
VARIABLE = "ISOTROPE_LOG_FORMAT"
FIELDS = "fields"  # logger.info("...", extra={FIELDS: {...}}) adds these to the line
_PARTITION = "dagster/partition"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, and what else it has."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _of_run(getattr(record, "dagster_meta", None) or {})
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _of_run(meta: dict[str, Any]) -> dict[str, Any]:
    """Run, drop and stage of a record of Dagster."""
    tags = meta.get("job_tags") or {}
    named = {
        "message": meta.get("orig_message"),
        "run": meta.get("run_id"),
        "job": meta.get("job_name"),
        "drop": tags.get(_PARTITION),
        "stage": meta.get("step_key"),
    }
    return {name: value for name, value in named.items() if value is not None}


def chosen(option: str | None, configured: LogFormat) -> LogFormat:
    """The format of the logs: of the command's option, else of the variable, else of corpus.yaml.

    An unknown value of the variable counts as none.
    """
    for value in (option, os.environ.get(VARIABLE)):
        if value in get_args(LogFormat):
            return value  # type: ignore[return-value]
    return configured


def handler() -> logging.StreamHandler[Any]:
    """A handler that writes JSON lines to standard error."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonFormatter())
    return lines


class _JsonLogger(logging.Logger):
    """A logger whose handlers write JSON lines, whatever format a library gives them.

    Dagster makes the console logger of each run itself, and lets nothing else be configured for
    runs that are launched from its page.
    """

    def addHandler(self, hdlr: logging.Handler) -> None:
        hdlr.setFormatter(JsonFormatter())
        super().addHandler(hdlr)


def configure() -> None:
    """Write the messages of all loggers of this process as JSON lines."""
    logging.setLoggerClass(_JsonLogger)
    root = logging.getLogger()
    root.handlers[:] = [handler()]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def is_configured() -> bool:
    """Whether `configure` was called in this process."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)
