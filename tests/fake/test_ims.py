"""The fake login service refuses what Adobe refuses: a wrong redirect, verifier, code or refresh token."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from aioframeio_upload import AuthenticationError
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import uploader_on

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://localhost:8477/callback"


class Browser:
    """Somebody with a browser, and the program that started the login."""

    def __init__(self, fake: FakeFrameio, http: aiohttp.ClientSession) -> None:
        self.fake = fake
        self.http = http

    async def agree(self, **changes: str | None) -> dict[str, str]:
        """Return the fields of the redirect; empty if there is none."""
        usual: dict[str, str | None] = {
            "client_id": self.fake.ims.client_id,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid offline_access",
            "state": "s",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        query = {name: value for name, value in (usual | changes).items() if value is not None}
        url = f"{self.fake.url}/ims/authorize/v2"
        async with self.http.get(url, params=query, allow_redirects=False) as response:
            return dict(parse_qsl(urlsplit(response.headers.get("Location", "")).query))

    async def post(self, path: str = "token/v3", **form: str) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"{self.fake.url}/ims/{path}", data=form) as response:
            return response.status, await response.json()

    async def redeem(self, code: str, **changes: str) -> tuple[int, dict[str, Any]]:
        usual = {
            "grant_type": "authorization_code",
            "client_id": self.fake.ims.client_id,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
            "code": code,
        }
        return await self.post(**usual | changes)

    async def renew(self, token: str) -> tuple[int, dict[str, Any]]:
        return await self.post(grant_type="refresh_token", client_id=self.fake.ims.client_id, refresh_token=token)


@pytest.fixture
async def browser(fake: FakeFrameio) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as http:
        yield Browser(fake, http)


async def can_call(fake: FakeFrameio, token: str) -> bool:
    async with uploader_on(fake) as uploader:
        uploader._token._value = token
        try:
            return (await uploader.user()).name == "Fake User"
        except AuthenticationError:
            return False


async def test_a_login_gives_tokens_that_the_api_accepts(fake: FakeFrameio, browser: Browser) -> None:
    fields = await browser.agree()
    assert fields["state"] == "s"
    status, tokens = await browser.redeem(fields["code"])
    assert status == 200
    assert await can_call(fake, tokens["access_token"])
    assert not await can_call(fake, tokens["refresh_token"])


async def test_nobody_is_redirected_to_an_unknown_place(fake: FakeFrameio, browser: Browser) -> None:
    assert await browser.agree(redirect_uri="https://evil.example/") == {}
    assert await browser.agree(client_id="unknown") == {}


async def test_without_pkce_a_public_client_is_refused(browser: Browser) -> None:
    assert (await browser.agree(code_challenge=None))["error"] == "invalid_request"
    assert (await browser.agree(code_challenge_method="plain"))["error"] == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"redirect_uri": "http://localhost:1/"}, {"code": "other"}],
)
async def test_a_code_is_redeemed_by_the_one_who_asked_for_it(browser: Browser, changes: dict[str, str]) -> None:
    code = (await browser.agree())["code"]
    status, answer = await browser.redeem(**{"code": code} | changes)
    assert (status, answer["error"]) == (400, "invalid_grant")


async def test_a_code_used_twice_ends_the_login(fake: FakeFrameio, browser: Browser) -> None:
    code = (await browser.agree())["code"]
    _, tokens = await browser.redeem(code)
    status, answer = await browser.redeem(code)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert not await can_call(fake, tokens["access_token"])
    assert (await browser.renew(tokens["refresh_token"]))[0] == 400


async def test_a_refresh_token_used_twice_ends_the_login(fake: FakeFrameio, browser: Browser) -> None:
    _, first = await browser.redeem((await browser.agree())["code"])
    status, second = await browser.renew(first["refresh_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert await can_call(fake, second["access_token"])
    assert (await browser.renew(first["refresh_token"]))[0] == 400
    assert (await browser.renew(second["refresh_token"]))[0] == 400
    assert not await can_call(fake, second["access_token"])
    assert fake.ims.reused == 1


async def test_without_offline_access_there_is_no_refresh_token(browser: Browser) -> None:
    _, tokens = await browser.redeem((await browser.agree(scope="openid"))["code"])
    assert "refresh_token" not in tokens


async def test_codes_and_tokens_end_by_the_clock_of_the_fake() -> None:
    ahead = timedelta()
    async with (
        FakeFrameio(rate_limits=False, clock=lambda: datetime.now(UTC) + ahead) as fake,
        aiohttp.ClientSession() as http,
    ):
        browser = Browser(fake, http)
        code = (await browser.agree())["code"]
        _, tokens = await browser.redeem((await browser.agree())["code"])
        ahead = timedelta(minutes=6)
        assert (await browser.redeem(code))[0] == 400
        assert await can_call(fake, tokens["access_token"])
        ahead = timedelta(hours=25)
        assert not await can_call(fake, tokens["access_token"])
        assert fake.ims.valid_tokens == ()
        ahead = timedelta(days=15)
        assert (await browser.renew(tokens["refresh_token"]))[0] == 400


async def test_a_web_app_needs_its_secret_and_no_pkce(fake: FakeFrameio, browser: Browser) -> None:
    client = fake.ims.web_client_id
    for secret, expected in (("wrong", 401), (fake.ims.web_client_secret, 200)):
        code = (await browser.agree(client_id=client, code_challenge=None))["code"]
        assert (await browser.redeem(code, client_id=client, client_secret=secret))[0] == expected
    status, tokens = await browser.post(
        grant_type="client_credentials", client_id=client, client_secret=fake.ims.web_client_secret
    )
    assert status == 200
    assert "refresh_token" not in tokens


async def test_a_revoked_refresh_token_ends_the_login_and_an_unknown_one_is_no_error(
    fake: FakeFrameio, browser: Browser
) -> None:
    _, tokens = await browser.redeem((await browser.agree())["code"])
    for token in ("unknown", tokens["refresh_token"]):
        assert (await browser.post("revoke", client_id=fake.ims.client_id, token=token))[0] == 200
    assert not await can_call(fake, tokens["access_token"])
    assert fake.ims.revoked == 1


async def test_faults_strike_the_login_service_too(fake: FakeFrameio, browser: Browser) -> None:
    fake.add_fault(Fault(on="token", status=503))
    code = (await browser.agree())["code"]
    async with browser.http.post(f"{fake.url}/ims/token/v3", data={}) as response:
        assert response.status == 503
    assert (await browser.redeem(code))[0] == 200
