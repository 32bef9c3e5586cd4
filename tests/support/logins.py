"""Log in at the fake as a person with a browser would, without the command."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from aioframeio_upload._cli.ims import Client, Ims
from aioframeio_upload._cli.login_store import Login, LoginStore
from aioframeio_upload._cli.oauth import DEFAULT_REDIRECT, Tokens, read_answer
from aioframeio_upload._core.redact import Secret
from aioframeio_upload.testing import FakeFrameio

STATE = Secret("state-of-a-test")


def ims_at(url: str) -> Ims:
    return Ims(url, Secret(None), None)


def client_of(fake: FakeFrameio, *, web: bool = False) -> Client:
    secret: Secret[str | None] = Secret(fake.ims.web_client_secret if web else None)
    return Client(
        id=fake.ims.web_client_id if web else fake.ims.client_id, secret=secret, redirect_uri=DEFAULT_REDIRECT
    )


def redeemed(fake: FakeFrameio, *, web: bool = False, now: float | None = None) -> Tokens:
    """Agree, and exchange the code. It blocks."""
    ims, client = ims_at(fake.url), client_of(fake, web=web)
    sign_in = ims.begin(client, STATE)
    response = httpx.get(sign_in.address, follow_redirects=False, trust_env=False)
    code = read_answer(response.headers["Location"], DEFAULT_REDIRECT, STATE)
    return ims.redeem(client, code, sign_in.verifier, time.time() if now is None else now)


def kept(fake: FakeFrameio, folder: Path, *, web: bool = False, now: float | None = None) -> Login:
    """Log in and keep the login in the file. It blocks."""
    client = client_of(fake, web=web)
    login = Login(
        client_id=client.id,
        client_secret=client.secret,
        redirect_uri=client.redirect_uri,
        ims_url=fake.url,
        base_url=fake.url,
        tokens=redeemed(fake, web=web, now=now),
    )
    store = LoginStore(folder, lambda _: None)
    with store.lock():
        return store.save(login)
