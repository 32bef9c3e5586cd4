"""The exit statuses of the command line."""

from __future__ import annotations

OK = 0
FAILED = 1
"""A file failed, or the service refused, or output that is the command's purpose was lost."""
USAGE = 2
"""The command cannot be run as it was typed. The same number as typer's."""


def after_signal(number: int) -> int:
    """Return the status of a program that was stopped by this signal, as shells count: 130 after SIGINT."""
    return 128 + number
