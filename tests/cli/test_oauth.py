"""The decisions about a login: whose answer the browser brought, and when a token is renewed."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._cli.oauth import (
    DEFAULT_REDIRECT,
    ForeignAnswer,
    LoginRefused,
    Loopback,
    Next,
    Tokens,
    check_redirect,
    is_refusal,
    loopback_of,
    next_step,
    read_answer,
    read_tokens,
    tokens_of_answer,
)
from aioframeio_upload._core.redact import Secret

STATE = Secret("the-state-of-this-login")
HTTPS = "https://studio.example/callback"
NATIVE = "adobe+0a1b2c://adobeid/ours"
DAY = 86_400.0


def answer_at(uri: str, **fields: str) -> str:
    return f"{uri}?{urlencode({'state': STATE.reveal(), **fields})}"


@pytest.mark.parametrize("uri", [DEFAULT_REDIRECT, HTTPS, NATIVE])
def test_the_code_is_read_from_the_address_that_the_browser_ends_at(uri: str) -> None:
    assert read_answer(answer_at(uri, code="c0de/+="), uri, STATE).reveal() == "c0de/+="
    assert read_answer(f"  {answer_at(uri, code='c0de')}\n", uri, STATE).reveal() == "c0de"
    fragment = answer_at(uri, code="c0de").replace("?", "#")
    assert read_answer(fragment, uri, STATE).reveal() == "c0de"


def test_an_address_without_its_scheme_is_the_same() -> None:
    for uri in (DEFAULT_REDIRECT, HTTPS):
        shown = answer_at(uri, code="c0de").partition("://")[2]
        assert read_answer(shown, uri, STATE).reveal() == "c0de"
    assert read_answer("/callback?code=c0de&state=the-state-of-this-login", DEFAULT_REDIRECT, STATE).reveal() == "c0de"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "code",
        "https://[",
        "http://localhost:x/callback?code=c&state=the-state-of-this-login",
        DEFAULT_REDIRECT,
        f"{DEFAULT_REDIRECT}?code=c",
        f"{DEFAULT_REDIRECT}?code=c&state=",
        f"{DEFAULT_REDIRECT}?code=c&state=of-another-login",
        f"{DEFAULT_REDIRECT}?code=c&state=of-another-login&state=the-state-of-this-login",
        f"{DEFAULT_REDIRECT}?error=access_denied",
        f"{DEFAULT_REDIRECT}?state=the-state-of-this-login",
        f"{DEFAULT_REDIRECT}?state=the-state-of-this-login&code=",
        "http://localhost:8478/callback?code=c&state=the-state-of-this-login",
        "http://localhost:8477/other?code=c&state=the-state-of-this-login",
        "https://localhost:8477/callback?code=c&state=the-state-of-this-login",
        "http://evil.example/callback?code=c&state=the-state-of-this-login",
        "http://localhost@evil.example:8477/callback?code=c&state=the-state-of-this-login",
    ],
)
def test_an_answer_that_is_not_of_this_login_is_none(address: str) -> None:
    with pytest.raises(ForeignAnswer):
        read_answer(address, DEFAULT_REDIRECT, STATE)


@given(st.text())
def test_no_text_is_taken_for_an_answer_without_the_state(text: str) -> None:
    with pytest.raises(ForeignAnswer):
        read_answer(text, DEFAULT_REDIRECT, STATE)


def test_a_refusal_is_one_only_with_the_state_and_shows_no_secret() -> None:
    refused = answer_at(DEFAULT_REDIRECT, error="access_denied", error_description=f"no {STATE.reveal()}\x1b[2J")
    with pytest.raises(LoginRefused, match="access_denied") as caught:
        read_answer(refused, DEFAULT_REDIRECT, STATE)
    assert STATE.reveal() not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (DEFAULT_REDIRECT, Loopback(("127.0.0.1", "::1"), 8477, "/callback")),
        ("http://127.0.0.1:9/", Loopback(("127.0.0.1",), 9, "/")),
        ("http://[::1]:9", Loopback(("::1",), 9, "/")),
        ("http://localhost/a/b", Loopback(("127.0.0.1", "::1"), 80, "/a/b")),
        ("https://localhost:8477/callback", None),
        (HTTPS, None),
        (NATIVE, None),
    ],
)
def test_only_plain_http_on_localhost_is_listened_for(uri: str, expected: Loopback | None) -> None:
    assert check_redirect(uri) is None
    assert loopback_of(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "callback",
        "http://studio.example/callback",
        "http://localhost.evil.example/",
        "http://user@localhost:1/",
        "https://studio.example/callback?a=b",
        "https://studio.example/callback#a",
        "https://",
        "http://localhost:port/",
        "http://localhost:99999/",
        "https://studio.example/ callback",
        "https://studio.example/\ncallback",
    ],
)
def test_a_redirect_that_cannot_be_one_is_refused(uri: str) -> None:
    assert check_redirect(uri) is not None


# -- the tokens --------------------------------------------------------------------------------------------------------


def tokens(*, lifetime: float = DAY, renewable: bool = True) -> Tokens:
    refresh: Secret[str | None] = Secret("refresh" if renewable else None)
    return Tokens(access=Secret("access"), refresh=refresh, issued_at=1e9, lifetime=lifetime)


@pytest.mark.parametrize(
    ("age", "elapsed", "renewable", "expected"),
    [
        (0, 0, True, Next.USE),
        (DAY - 1801, 0, True, Next.USE),
        (DAY - 1799, 0, True, Next.RENEW),
        (DAY - 1799, 0, False, Next.USE),
        (DAY, 0, True, Next.RENEW_FIRST),
        (DAY, 0, False, Next.LOG_IN),
        (9 * DAY, 0, True, Next.RENEW_FIRST),
        # The clock was set back while the process ran: it has had the token for longer than the clock says.
        (0, DAY, True, Next.RENEW_FIRST),
        (0, DAY - 1799, True, Next.RENEW),
        (-5 * DAY, DAY, False, Next.LOG_IN),
        # It was set back before the process began: how old the token is, nobody knows.
        (-301, 0, True, Next.RENEW),
        (-299, 0, True, Next.USE),
        (-301, 0, False, Next.USE),
    ],
)
def test_a_token_is_renewed_half_an_hour_before_its_end_by_either_clock(
    age: float, elapsed: float, renewable: bool, expected: Next
) -> None:
    assert next_step(tokens(renewable=renewable), 1e9 + age, elapsed) is expected


def test_a_short_lived_token_is_renewed_in_its_last_quarter() -> None:
    assert next_step(tokens(lifetime=100), 1e9 + 74) is Next.USE
    assert next_step(tokens(lifetime=100), 1e9 + 76) is Next.RENEW


def test_an_answer_without_a_refresh_token_keeps_the_one_before() -> None:
    before = tokens()
    after = tokens_of_answer({"access_token": "new", "expires_in": 60}, 2e9, before)
    assert after is not None
    assert (after.access.reveal(), after.refresh.reveal(), after.expires_at) == ("new", "refresh", 2e9 + 60)
    rotated = tokens_of_answer({"access_token": "new", "refresh_token": "next"}, 2e9, before)
    assert rotated is not None
    assert (rotated.refresh.reveal(), rotated.lifetime) == ("next", DAY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("access_token", "refresh_token", "expires_in", "issued_at", "lifetime"), JSON),
)


@given(JSON | FIELDS)
def test_any_document_gives_usable_tokens_or_none(document: object) -> None:
    for found in (tokens_of_answer(document, 1e9), read_tokens(document)):
        if found is not None:
            assert found.access.reveal()
            assert isinstance(next_step(found, 1e9), Next)
            assert read_tokens(found.to_document()) is not None


def test_kept_tokens_are_read_back_and_show_nothing() -> None:
    kept = tokens()
    again = read_tokens(kept.to_document())
    assert again is not None
    assert again.to_document() == kept.to_document()
    assert "access'" not in repr(kept)
    assert "refresh'" not in repr(kept)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("invalid_grant", True),
        ("invalid_client", True),
        ("unauthorized_client", True),
        ("server_error", False),
        ("temporarily_unavailable", False),
        ("http_503", False),
        ("http_403", False),  # a proxy's page, not IMS's JSON
        ("invalid_response", False),
    ],
)
def test_only_an_answer_about_the_login_is_a_refusal(code: str, expected: bool) -> None:
    assert is_refusal(code) is expected
