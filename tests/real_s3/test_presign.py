"""The test harness itself: the servers accept what botocore signed and refuse everything else."""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

from . import servers
from .presign import ACL, S3Server

BODY = b"forty-two bytes of a film, more or less ..."
MEDIA_TYPE = "video/mp4"
SIGNED = {"Content-Type": MEDIA_TYPE, "x-amz-acl": ACL}

MISMATCH = (403, "SignatureDoesNotMatch")
UNSIGNED = (403, "AccessDenied")
EXPIRED = (403, "AccessDenied")


@dataclass(frozen=True)
class Answer:
    """A server's answer to a PUT."""

    status: int
    code: str | None
    etag: str | None


def put(url: str, headers: dict[str, str]) -> Answer:
    """PUT the body to exactly this link with exactly these headers, plus Host and Content-Length."""
    link = urlsplit(url)
    connection = http.client.HTTPConnection(link.netloc, timeout=20)
    try:
        connection.request("PUT", f"{link.path}?{link.query}", body=BODY, headers=headers)
        response = connection.getresponse()
        code = re.search(rb"<Code>(\w+)</Code>", response.read())
        return Answer(response.status, code and code[1].decode(), response.headers["ETag"])
    finally:
        connection.close()


def one_part(server: S3Server, **options: Any) -> tuple[dict[str, Any], str]:
    """Return a create response for the body in one part, and that part's link."""
    response = server.create_response(len(BODY), [len(BODY)], media_type=MEDIA_TYPE, **options)
    return response, response["upload_urls"][0]["url"]


def test_a_put_as_signed_is_stored_and_its_etag_is_the_md5(s3_server: S3Server) -> None:
    response, url = one_part(s3_server)
    answer = put(url, SIGNED)
    assert answer.status == 200
    assert answer.etag == f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'
    assert s3_server.stored(response) == [len(BODY)]


def test_the_parts_are_read_back_joined_in_order(s3_server: S3Server) -> None:
    response = s3_server.create_response(3 * len(BODY), [len(BODY)] * 3, media_type=MEDIA_TYPE)
    for part in reversed(response["upload_urls"]):
        assert put(part["url"], SIGNED).status == 200
    assert s3_server.sha256(response) == hashlib.sha256(BODY * 3).hexdigest()


def test_deleted_parts_are_gone_and_absent_ones_do_not_matter(s3_server: S3Server) -> None:
    response = s3_server.create_response(2 * len(BODY), [len(BODY)] * 2, media_type=MEDIA_TYPE)
    put(response["upload_urls"][0]["url"], SIGNED)
    assert s3_server.stored(response) == [len(BODY), None]
    s3_server.delete(response)
    assert s3_server.stored(response) == [None, None]


@pytest.mark.parametrize(
    ("headers", "rclone_says"),
    [
        pytest.param({**SIGNED, "Content-Type": "text/plain"}, MISMATCH, id="another content-type"),
        pytest.param({"x-amz-acl": ACL}, UNSIGNED, id="no content-type"),
        pytest.param({**SIGNED, "x-amz-acl": "public-read"}, MISMATCH, id="another acl"),
        pytest.param({"Content-Type": MEDIA_TYPE}, UNSIGNED, id="no acl"),
        pytest.param({**SIGNED, "x-amz-meta-take": "1"}, UNSIGNED, id="an x-amz header too many"),
    ],
)
def test_other_headers_than_were_signed_are_refused(
    s3_server: S3Server, headers: dict[str, str], rclone_says: tuple[int, str]
) -> None:
    response, url = one_part(s3_server)
    answer = put(url, headers)
    assert (answer.status, answer.code) == {"rclone": rclone_says, "seaweedfs": MISMATCH}[s3_server.name]
    assert s3_server.stored(response) == [None]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda url: url[:-1] + ("1" if url[-1] == "0" else "0"), id="a digit of the signature"),
        pytest.param(lambda url: url.replace("/part_1?", "/part_2?"), id="another part"),
        pytest.param(lambda url: url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"), id="a longer life"),
        pytest.param(lambda url: url.replace("%20", "+"), id="a space written as a plus"),
        pytest.param(lambda url: url.replace("%2525", "%25"), id="decoded once too often"),
        pytest.param(lambda url: url.replace("%20", "%2520"), id="encoded once too often"),
    ],
)
def test_a_changed_link_is_refused(s3_server: S3Server, change: Callable[[str], str]) -> None:
    response, url = one_part(s3_server)
    changed = change(url)
    assert changed != url
    answer = put(changed, SIGNED)
    assert (answer.status, answer.code) == MISMATCH
    assert s3_server.stored(response) == [None]


def test_an_expired_link_is_refused(s3_server: S3Server) -> None:
    response, url = one_part(s3_server, expires=60, age=61)
    answer = put(url, SIGNED)
    # rclone has S3's code but not its status.
    assert (answer.status, answer.code) == {"rclone": (400, "AccessDenied")}.get(s3_server.name, EXPIRED)
    assert s3_server.stored(response) == [None]


def test_an_old_link_that_lives_long_enough_is_taken(s3_server: S3Server) -> None:
    _, url = one_part(s3_server, expires=3600, age=1800)
    assert put(url, SIGNED).status == 200


def test_a_link_without_its_signature_is_refused(s3_server: S3Server) -> None:
    response, url = one_part(s3_server)
    answer = put(url.partition("?")[0], SIGNED)
    assert (answer.status, answer.code) == {
        "rclone": (400, "UnsupportedAlgorithm"),
        "seaweedfs": (403, "AccessDenied"),
    }[s3_server.name]
    assert s3_server.stored(response) == [None]


async def test_links_can_be_made_on_the_event_loop_and_the_rest_in_a_thread(s3_server: S3Server) -> None:
    response, url = one_part(s3_server)
    answer = await anyio.to_thread.run_sync(put, url, SIGNED)
    assert answer.status == 200
    stored = await anyio.to_thread.run_sync(s3_server.sha256, response)
    assert stored == hashlib.sha256(BODY).hexdigest()


def test_part_sizes_that_do_not_add_up_are_an_error_of_the_test(s3_server: S3Server) -> None:
    with pytest.raises(ValueError, match="parts of 3 bytes for a file of 4"):
        s3_server.create_response(4, [1, 2])


@pytest.mark.needs_program
def test_a_server_that_does_not_start_fails_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = servers.Kind("python", lambda program, _folder, _access: [program, "-c", "exit('no such disk')"])
    monkeypatch.setitem(servers.KINDS, "broken", broken)
    with pytest.raises(servers.ServerFailed, match="no such disk"), servers.running("broken", tmp_path):
        pytest.fail("it seems to have started")
