"""The official SDK's server-to-server tokens, fetched from a login service on loopback and used by an Uploader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from frameio.auth import AsyncServerToServerAuth

from aioframeio_upload import AuthenticationError, Limits, Uploader
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import sha256, some_bytes
from tests.support.ims import SECRET, Ims, serving

BODY = some_bytes(1000)
Login = Callable[[Ims, str], AsyncServerToServerAuth]


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    """Return the SDK's authentication object for a login service."""
    # The login is plain HTTP; otherwise httpx would read TLS certificates from the disk, which blocks.
    async with httpx.AsyncClient(verify=False) as http:
        yield lambda ims, secret: AsyncServerToServerAuth(
            client_id="ours", client_secret=secret, ims_base_url=ims.url, http_client=http
        )


def uploader_with(auth: AsyncServerToServerAuth, fake: FakeFrameio) -> Uploader:
    return Uploader(auth.get_token, account_id=fake.account_id, base_url=fake.url, limits=Limits(api_pacing=False))


def tokens_seen(fake: FakeFrameio) -> list[str]:
    return [seen.headers["Authorization"] for seen in fake.requests if seen.operation != "part"]


async def test_the_sdks_get_token_works_unchanged(fake: FakeFrameio, login: Login) -> None:
    async with serving(fake) as ims, uploader_with(login(ims, SECRET), fake) as uploader:
        takes = [uploader.upload(BODY, name=f"{number}.mov", folder_id=fake.folder_id) for number in (1, 2)]
        await asyncio.gather(*takes)
    assert [file.sha256 for file in fake.files] == [sha256(BODY)] * 2
    assert [(form["grant_type"], form["client_id"]) for form in ims.asked] == [("client_credentials", "ours")]
    assert set(tokens_seen(fake)) == {"Bearer of-ims-1"}


async def test_a_token_that_is_about_to_expire_is_replaced_during_an_upload(fake: FakeFrameio, login: Login) -> None:
    """The SDK renews a token a minute before its end, so one that lives a second is renewed for each call."""
    async with serving(fake, lifetime=1) as ims, uploader_with(login(ims, SECRET), fake) as uploader:
        await uploader.upload(BODY, name="take.mov", folder_id=fake.folder_id)
    assert fake.files[0].sha256 == sha256(BODY)
    seen = tokens_seen(fake)
    assert len(seen) >= 2
    assert len(set(seen)) == len(seen) == len(ims.asked)


async def test_credentials_that_are_refused_are_an_authentication_error(fake: FakeFrameio, login: Login) -> None:
    async with serving(fake) as ims, uploader_with(login(ims, "wrong"), fake) as uploader:
        with pytest.raises(AuthenticationError) as caught:
            await uploader.upload(BODY, name="take.mov", folder_id=fake.folder_id)
    assert "wrong" not in str(caught.value)
    assert fake.requests == []
