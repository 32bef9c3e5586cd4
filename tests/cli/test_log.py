"""The handler that shows the library's log must never be in the way of the command, or of its end."""

from __future__ import annotations

import logging
import threading

import pytest

from aioframeio_upload._cli.log import StderrLog, hide_log, log_held, show_log

log = logging.getLogger("aioframeio_upload")


def in_a_thread(message: str) -> None:
    thread = threading.Thread(target=log.info, args=(message,))
    thread.start()
    thread.join()


def test_a_thread_that_has_logged_leaves_the_handler_free(capfd: pytest.CaptureFixture[str]) -> None:
    """`logging.shutdown` waits for the lock of each handler when the interpreter ends, without a limit."""
    handler = show_log(verbose=False)
    in_a_thread("from a thread")
    assert handler.lock is not None
    is_free = handler.lock.acquire(blocking=False)
    if is_free:
        handler.lock.release()
    hide_log(handler)
    assert is_free
    assert capfd.readouterr().err == "from a thread\n"


def test_what_is_logged_while_a_display_is_drawn_is_written_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    handler = show_log(verbose=False)
    with log_held():
        in_a_thread("from a thread")
        log.info("from here")
        during = capfd.readouterr().err
    hide_log(handler)
    assert (during, capfd.readouterr().err) == ("", "from a thread\nfrom here\n")


def test_the_handler_replaces_no_method_of_logging_but_two() -> None:
    """`logging` calls its own methods by name, `release` among them, when it hands a record to a handler."""
    ours = {name for name in vars(StderrLog) if not name.startswith("__")}
    assert ours & set(dir(logging.Handler)) == {"emit", "close"}
