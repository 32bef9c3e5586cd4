"""The error of a command that cannot be run as it was typed."""

from __future__ import annotations


class UsageError(Exception):
    """The command cannot be run as it was typed; the message says what is accepted."""
