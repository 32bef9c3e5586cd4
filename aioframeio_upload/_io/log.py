"""The library's logger: each record is one line, whatever a server, a file's name or an exception put into it."""

from __future__ import annotations

import logging

from .._core.redact import one_line


class Lines(str):
    """Text of our own that is meant to have several lines, such as the places of a traceback."""

    __slots__ = ()


class OneLine(logging.Filter):
    """Shows control characters of a message as escapes: a line break would forge a record, an escape sequence a screen.

    A filter of the logger, and not a formatter: the application owns those.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; change those that need it."""
        message = record.getMessage()
        shown = one_line(message)
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, Lines):
                shown = shown.replace(one_line(argument), argument)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


log = logging.getLogger("aioframeio_upload")
log.addFilter(OneLine("aioframeio_upload"))
