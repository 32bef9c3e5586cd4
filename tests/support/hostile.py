"""Answers that an honest service never gives, drawn at random as faults: from broken proxies and from attackers."""

from __future__ import annotations

import json
import random
from typing import Any

from aioframeio_upload.testing import Fault

PORTAL = "<!doctype html><title>Wi-Fi</title><form action=/login>Sign in to go on</form>"
XML = '<?xml version="1.0"?><Error><Code>{}</Code><Message>We are sorry</Message></Error>'

STRANGERS = (
    "http://stranger.invalid/part",
    "https://s3.amazonaws.com.stranger.invalid/part",
    "http://127.0.0.1:9/part",
    "//[",
    "ftp://127.0.0.1/part",
    "/part?" + "x" * 2000,
    "http://xn--" + "a" * 300 + ".invalid/",
)
"""URLs to which a part's bytes must not be sent."""

ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 70, 1e400, "", "x" * 500, "\ud800", "\x1b[2J\r\n", "2026-13-45T99:99:99Z", "//["),
    *([], {}, [[]], [None], {"data": {}}, [{"size": 1}], {"next": 7}),
)
"""Values in place of the expected ones; `1e400` is written as `Infinity`."""

FIELDS = (
    *("id", "name", "type", "status", "file_size", "created_at", "media_type", "view_url", "upload_urls", "parent_id"),
    *("upload_complete", "upload_failed", "head_version", "filetype", "links"),
)
NO_LIES = frozenset({"upload_complete", "status"})
"""Fields that are never drawn as successful: a service that reports a file as arrived is believed."""

API = ("create", "status", "delete", "list_children", "list_files", "create_folder", "create_stack", "move")


def drawn_hostile(chance: random.Random) -> list[Fault]:
    """Draw one thing that a hostile peer does, as the faults that it consists of."""
    match chance.choice(("part", "stranger", "document", "document", "words", "circle")):
        case "part":
            return [_answer(chance, "part", chance.choice((PORTAL, XML.format("InternalError"), '{"ok": true}')), 200)]
        case "stranger":
            where = chance.choice(STRANGERS)
            return [Fault(do="redirect", location=where, status=chance.choice((301, 302, 303, 307, 308)), times=2)]
        case "document":
            return [_answer(chance, chance.choice(API), json.dumps(_document(chance)), chance.choice((200, 201, 202)))]
        case "words":
            body = chance.choice((PORTAL, "", "null", "{", '"' + "\\ud800" * 9 + '"', "[" * 5000, "\x00\xff", XML))
            return [_answer(chance, chance.choice(API), body, chance.choice((200, 201, 204, 400, 407, 511)))]
        case _:
            on = chance.choice(("list_children", "list_files"))
            return [_page(on, cursor) for cursor in "ABCABC" * 3]


def _answer(chance: random.Random, on: str, body: str, status: int) -> Fault:
    if on == "delete" and status < 300:
        status = 511  # a reported deletion that did not happen could not be detected
    kind = chance.choice(("text/html", "application/json", "application/xml"))
    times, first = chance.choice((1, 1, 2, 5)), chance.randint(1, 4)
    return Fault(on=on, status=status, body=body, headers={"Content-Type": kind}, times=times, first=first)


def _page(on: str, cursor: str) -> Fault:
    return Fault(on=on, status=200, body=json.dumps({"data": [], "links": {"next": f"/v4/x?after={cursor}"}}))


def _document(chance: random.Random) -> Any:
    if chance.random() < 0.2:
        return chance.choice(ODD)
    row = {name: chance.choice(ODD) for name in chance.sample(FIELDS, 6) if name not in NO_LIES}
    row |= {"id": chance.choice((f"id-{chance.randrange(9)}", *ODD)), "type": chance.choice(("file", "folder", *ODD))}
    data = chance.choice((row, [row], [row, *ODD], chance.choice(ODD)))
    return {"data": data, "links": chance.choice(({"next": chance.choice(ODD)}, *ODD)), "errors": chance.choice(ODD)}
