"""Credentials are removed from foreign texts, other words stay, and secret values have no readable `repr`."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aioframeio_upload import Part, Plan
from aioframeio_upload._core.redact import PartUrl, Secret, one_line, redact, redact_id, without_frames

TOKEN = "Zk7-bQ2xVw9LmT4pRs8YcDf3Gh6Jn1K"
SIGNATURE = "5ec2e7" * 8 + "0123456789abcdef"
LINK = (
    "https://bucket.s3.amazonaws.com/parts/6f1c/1?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261128%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261128T100000Z"
    f"&X-Amz-Expires=86400&X-Amz-Security-Token=FwoGZXIvYXdzEBYaDK%2Fabc%2Bdef&X-Amz-Signature={SIGNATURE}"
)

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "every character percent-encoded": lambda text: "".join(f"%{ord(one):02x}" for one in text),
    "in HTML": html.escape,
    "in HTML twice": lambda text: html.escape(html.escape(text)),
    "in decimal entities": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "in JSON": json.dumps,
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "in JSON with slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "in JSON with every character escaped": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "as repr": repr,
    "in brackets": lambda text: f"<({text})>,",
    "after a key": lambda text: f"value={text};",
    "with invisible characters": lambda text: "\u200b".join(text),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_link_is_taken_out_in_every_spelling_also_where_it_is_not_known(spelling: str) -> None:
    quoted = SPELLINGS[spelling](LINK)
    for links in ([LINK], []):
        words = redact(f"cannot read {quoted} today", links=links)
        assert words.startswith("cannot read ")
        assert words.endswith(" today")
        assert not re.search("5ec2|AKIA|FwoG|amazonaws", words), words


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_token_is_taken_out_in_every_spelling(spelling: str) -> None:
    words = redact(f"bad {SPELLINGS[spelling](TOKEN)} given", tokens=[TOKEN])
    assert words.startswith("bad ")
    assert words.endswith(" given")
    assert len(words) < len("bad  given") + 8, words


@pytest.mark.parametrize("piece", [TOKEN[:26], TOKEN[5:], TOKEN[8:20], TOKEN[:9] + "...", "x" + TOKEN[:10]])
def test_a_piece_of_a_token_is_taken_out_as_well(piece: str) -> None:
    words = redact(f"the token {piece} is unknown", tokens=[TOKEN])
    assert not any(TOKEN[at : at + 8] in words for at in range(len(TOKEN) - 7))
    assert words.endswith(" is unknown")


@pytest.mark.parametrize("before", ["", "B", "Be", "Bearer ", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_token_in_base64_is_taken_out_wherever_it_begins(before: str, encode: Callable[[bytes], bytes]) -> None:
    quoted = encode(f"{before}{TOKEN}".encode()).decode()
    assert redact(f"got {quoted}", tokens=[TOKEN]) == "got …"


def test_the_values_of_a_known_link_are_taken_out_by_themselves() -> None:
    query = parse_qs(urlsplit(LINK).query)
    for name in ("X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature"):
        assert redact(f"provided {query[name][0]} was", links=[LINK]) == "provided … was"
    link = "https://storage.example/p?policy=opaquevalueofsomekind"
    assert redact("the policy opaquevalueofsomekind is over", links=[link]) == "the policy … is over"


@pytest.mark.parametrize(
    "words",
    [
        f"X-Amz-Signature: {SIGNATURE}",
        "x-amz-security-token = short",
        '"Signature": "abc"',
        "'Credential' : 'abc/2026'",
        "&quot;Signature&quot;:&quot;abc&quot;",
        "Authorization: Bearer abcdefgh",
        "authorization=Basic dXNlcjpwYXNz",
        "Authorization: AWS4-HMAC-SHA256 abc",
        "Bearer abcdefgh12",
        "access_token=abcdefgh12",
        '"client_secret":"p8e-abcdefgh"',
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "fio-u-abcdefgh",
        "AKIAIOSFODNN7EXAMPLE",
        "5EC2E7" * 10 + "5EC2",
        "ftp://user:abcdef@host/x",
        "//host/p?abc",
    ],
)
def test_text_that_looks_like_a_credential_is_removed_although_it_is_unknown(words: str) -> None:
    hidden = redact(f"no: {words} !")
    assert "…" in hidden
    assert not re.search(r"(?i)abc|5ec2|dXNl|eyJ|short|AKIA", hidden), hidden


@pytest.mark.parametrize(
    "words",
    [
        "The request signature we calculated does not match the signature you provided. Check your key.",
        "the region 'us-east-1' is wrong; expecting 'eu-west-1'",
        "Request has expired",
        "the Bearer token is missing; the token: expired",
        "X-Amz-Expires must be less than a week (in seconds); that is, less than 604800",
        "There were headers present in the request which were not signed",
        "name has already been taken (/data/attributes/name)",
        "folder 0f8fad5b-d9cb-469f-a165-70867728950e does not exist",
        "C:\\films\\take 07.mov: [Errno 5] Input/output error",
        "Ça va? \u00a0テイク\u3000\U0001f3ac",
    ],
)
def test_words_without_a_credential_stay_as_they_are(words: str) -> None:
    assert redact(words, tokens=[TOKEN], links=[LINK]) == words


@given(before=st.text(max_size=40), after=st.text(max_size=40), limit=st.integers(1, 80))
def test_no_cut_leaves_a_piece_of_a_token(before: str, after: str, limit: int) -> None:
    words = redact(f"{before}{TOKEN}{after}", tokens=[TOKEN], limit=limit)
    assert len(words) <= limit
    assert words.isprintable() or not set(words) & set("\r\n\x1b\u2028\u202e\x85")
    assert not any(TOKEN[at : at + 8] in words for at in range(len(TOKEN) - 7))


def test_a_line_of_a_log_cannot_be_forged() -> None:
    said = "no\r\n2026-11-28 INFO all is well\x1b[2J\u202e\u2028\x85\ud800"
    assert redact(said) == "no\\r\\n2026-11-28 INFO all is well\\x1b[2J\\u202e\\u2028\\x85\\ud800"
    assert one_line("Ça va?\u00a0\u3000\ue000") == "Ça va?\u00a0\u3000\ue000"


@pytest.mark.parametrize("bad", ["a\nb", LINK, "", None, f"x-{TOKEN[:12]}", "Signature=abc", "\x1b[2J"])
def test_an_identifier_that_may_be_a_credential_is_left_out(bad: str | None) -> None:
    assert redact_id(bad, tokens=[TOKEN], links=[LINK]) is None
    assert redact_id("SlowDown", tokens=[TOKEN], links=[LINK]) == "SlowDown"
    digest = "0123456789abcdef" * 4
    assert redact_id(digest, links=[f"https://h/p?X-Amz-Signature={digest[::-1]}"]) == digest
    assert redact_id(digest, links=[f"https://h/p?X-Amz-Signature={digest}"]) is None
    assert redact_id("6M0TBR2S" * 100, tokens=[TOKEN]) == ("6M0TBR2S" * 100)[:120]


@pytest.mark.parametrize("word", ["token-", "x-amz-", "eyj-", "a.", "&amp;", "%25", "\\", "?", "Bearer ", "a:/"])
def test_no_words_take_long(word: str) -> None:
    """Linear time: 2 MB of them end, of which only as much is searched as an error can contain."""
    assert len(redact(word * (2_000_000 // len(word)), tokens=[TOKEN], links=[LINK])) <= 1000


# -- values that hide themselves ---------------------------------------------------------------------------------------


def test_a_secret_shows_its_value_to_who_asks_for_it_only() -> None:
    secret = Secret(TOKEN)
    assert secret.reveal() == TOKEN
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret]), "%s" % secret):  # noqa: UP031  # all ways to format are tested
        assert TOKEN not in shown


def test_a_parts_url_is_a_string_that_hides_its_query_from_repr() -> None:
    part = Part(1, 0, 5, LINK)
    assert part.url == LINK
    assert hash(part.url) == hash(LINK)
    assert {LINK: 1}[part.url] == 1
    assert str(part.url) == f"{part.url}" == LINK
    assert str(URL(part.url, encoded=True)) == LINK
    assert urlsplit(part.url) == urlsplit(LINK)
    assert json.loads(json.dumps({"url": part.url})) == {"url": LINK}
    assert part == Part(1, 0, 5, LINK)
    for other in (copy.deepcopy(part), copy.copy(part), pickle.loads(pickle.dumps(part)), Part(**asdict(part))):
        assert other == part
        assert other.url == LINK
        assert "X-Amz" not in repr(other) + repr(other.url)
    shown = (part, part.url, [part.url], asdict(part), part.url[:80], part.url[90:], part.url[-20:], values_of(part))
    assert not re.search("X-Amz|5ec2|AKIA", repr(shown)), shown
    assert repr(part.url) == "'https://bucket.s3.amazonaws.com/parts/6f1c/1?…'"


def values_of(part: Part) -> dict[str, object]:
    return {name: getattr(part, name) for name in Part.__slots__}


def test_a_plan_that_was_read_hides_its_links_too() -> None:
    plan = Plan("f", None, "n", 5, (Part(1, 0, 5, LINK),))
    read = Plan.from_json(plan.to_json())
    assert read == plan
    assert type(read.parts[0].url) is PartUrl
    assert "X-Amz" not in repr(read) + repr(asdict(read))


def test_an_exception_leaves_the_frames_that_hold_credentials_behind() -> None:
    def inner() -> None:
        token = TOKEN
        raise KeyError(len(token))

    def boundary() -> None:
        try:
            inner()
        except BaseException as error:
            without_frames(error)
            raise

    with pytest.raises(KeyError) as caught:
        boundary()
    names = [entry.name for entry in caught.traceback]
    assert "inner" not in names
    assert "inner, line" in caught.value.__notes__[0]
    assert TOKEN not in caught.value.__notes__[0]
