"""Define the library's logger, which keeps each record on one line, even if foreign text has line breaks."""

from __future__ import annotations

import logging

from .._core.redact import one_line


class Lines(str):
    """A text of the library that is meant to have several lines, such as the locations of a traceback."""

    __slots__ = ()


class OneLine(logging.Filter):
    """Escape the control characters of messages: a line break could forge a record, an escape sequence the screen.

    A filter of the logger and not a formatter, because formatters belong to the application.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; escape the message where necessary."""
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
