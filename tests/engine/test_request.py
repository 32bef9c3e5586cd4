"""Test the records that describe an upload and an Uploader's settings."""

from __future__ import annotations

import dataclasses
import pickle
import ssl

import pytest

from aioframeio_upload import Limits, Uploader
from aioframeio_upload._core.redact import Secret
from aioframeio_upload._engine.request import UploadRequest
from aioframeio_upload._io.proxies import Proxies
from aioframeio_upload._io.session import UploaderSettings
from aioframeio_upload._uploader import submit


def request() -> UploadRequest:
    """Return a request as another module of the package makes it."""
    return UploadRequest(source=b"x" * 100_000, name="a.mov", folder_id="folder", account_id="")


def test_a_request_cannot_be_changed_and_shows_no_contents() -> None:
    """The job reads it only, and its repr may be logged."""
    asked = request()
    with pytest.raises(dataclasses.FrozenInstanceError):
        asked.name = "b.mov"  # type: ignore[misc]
    assert len(repr(asked)) < 1000


def test_the_settings_that_travel_leave_behind_what_belongs_to_this_process() -> None:
    """A Dask worker gets them pickled, and a TLS context cannot be pickled."""
    settings = UploaderSettings(limits=Limits(parts=3), ssl=ssl.create_default_context(), spool_dir="/spool")
    there = pickle.loads(pickle.dumps(settings.portable()))
    assert (there.limits, there.timeouts, there.retry) == (settings.limits, settings.timeouts, settings.retry)
    assert (there.ssl, there.spool_dir, there.session) == (None, None, None)


def test_the_settings_show_no_password() -> None:
    """The proxy's URL may contain one."""
    assert "hunter2" not in repr(UploaderSettings(proxies=Proxies(Secret("http://me:hunter2@proxy:3128"))))


def test_a_request_without_an_account_gets_that_of_the_uploader() -> None:
    """So it is for the package's own modules as for `upload()`; without either it is refused."""

    def sender(*args: object, **kwargs: object) -> object:
        raise AssertionError

    upload = submit(Uploader("token", account_id="account"), request(), sender=sender)  # type: ignore[arg-type]
    assert (upload.name, upload.folder_id) == ("a.mov", "folder")
    upload.cancel()
    with pytest.raises(ValueError, match="no account"):
        submit(Uploader("token"), request(), sender=sender)  # type: ignore[arg-type]
