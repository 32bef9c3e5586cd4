"""The commands `login`, `logout` and `whoami`."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import threading
import time
import webbrowser
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from .. import ApiError, RemoteAccount, RemoteUser
from .._core.redact import Secret
from . import exit_status
from .format import format_count, format_error, format_size
from .ims import Client, Ims, ImsRefused, ImsUnavailable, SignIn
from .login_store import Login, LoginError, LoginStore
from .loopback import listening
from .oauth import REFRESH_LIFETIME, ForeignAnswer, LoginRefused, Tokens, loopback_of, read_answer
from .output import write_error, write_json, write_line
from .service import Service
from .typed_lines import has_person, typed_lines

PATIENCE = 600.0
"""Seconds in which the person must have agreed in the browser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginArguments:
    """How to log in."""

    client_id: str
    redirect_uri: str
    is_web_app: bool
    """Ask for the client's secret."""
    opens_browser: bool


# -- login -------------------------------------------------------------------------------------------------------------


async def run_login(service: Service, arguments: LoginArguments) -> int:
    """Log in by the browser, and keep the tokens."""
    store, ims_url = service.store, service.ims_url
    await asyncio.to_thread(_check, store)
    ims = service.ims(ims_url)
    client = Client(
        id=arguments.client_id,
        secret=await _read_client_secret() if arguments.is_web_app else Secret(None),
        redirect_uri=arguments.redirect_uri,
    )
    state = Secret(secrets.token_urlsafe(32))
    sign_in = await asyncio.to_thread(ims.begin, client, state)
    code = await _Conversation(client.redirect_uri, state).run(sign_in, opens_browser=arguments.opens_browser)
    tokens = await asyncio.to_thread(_redeem, ims, client, code, sign_in.verifier)
    login = Login(
        client_id=client.id,
        client_secret=client.secret,
        redirect_uri=client.redirect_uri,
        ims_url=ims_url,
        base_url=service.base_url,
        tokens=tokens,
    )
    login = await asyncio.to_thread(_keep, store, login)
    await _write(f"logged in{await _user_name(service)}; {_describe_hold(login, time.time())}")
    if not login.tokens.is_renewable:
        await asyncio.to_thread(
            write_error,
            "warning: Adobe gave no refresh token, so the login cannot be renewed. It gives them to OAuth Web App"
            " credentials: see --web-app",
        )
    if winner := service.token_variable:
        await asyncio.to_thread(write_error, f"warning: {winner} is set and is used instead of this login")
    return exit_status.OK


def _check(store: LoginStore) -> None:
    """Raise LoginError if nothing can be kept: before a person logs in, not after it."""
    with store.lock():
        pass


def _redeem(ims: Ims, client: Client, code: Secret[str], verifier: Secret[str | None]) -> Tokens:
    trouble = ""
    try:
        return ims.redeem(client, code, verifier, time.time())
    except ImsRefused as error:
        trouble = f"Adobe refused the login: {error}"
    except ImsUnavailable as error:
        trouble = f"the login could not be completed: {error}; run the command again"
    raise LoginError(trouble)


def _keep(store: LoginStore, login: Login) -> Login:
    with store.lock():
        return store.save(login, is_new=True)


async def _user_name(service: Service) -> str:
    """Return the user as part of a sentence. Adobe's word for a login does not mean that Frame.io knows the user."""
    try:
        async with service.with_stored_login().uploader() as uploader:
            user = await uploader.user()
    except ApiError as error:
        await asyncio.to_thread(write_error, f"warning: Frame.io does not accept it: {format_error(error)}")
        return " at Adobe"
    return f" as {_describe_user(user)}"


async def _read_client_secret() -> Secret[str | None]:
    """Return the secret of a web app: from the environment, or typed. It has no option, which `ps` would show."""
    given: Secret[str | None] = Secret(os.environ.get("FRAMEIO_CLIENT_SECRET") or None)
    if given.reveal() is None:
        if has_person():
            await asyncio.to_thread(write_error, "client secret (it is not shown):")
        async with typed_lines(hidden=True) as lines:
            line = await lines.get()
            given = Secret((line.reveal() or "").strip() or None)
    if given.reveal() is None:
        raise LoginError("--web-app needs the client secret: set FRAMEIO_CLIENT_SECRET, or type it")
    return given


class _Conversation:
    """Wait for the answer of the browser: at the redirect's address on this machine, or pasted.

    Both at once if possible: over ssh the browser runs on another machine, where nobody listens.
    """

    def __init__(self, redirect_uri: str, state: Secret[str]) -> None:
        self._redirect_uri = redirect_uri
        self._state = state
        self._code: asyncio.Future[Secret[str]] = asyncio.get_running_loop().create_future()

    async def run(self, sign_in: SignIn, *, opens_browser: bool) -> Secret[str]:
        """Show the address, and return the authorization code.

        Raises:
            LoginError: The person refused, nothing came in time, or nobody can answer.
        """
        where = loopback_of(self._redirect_uri)
        trouble = ""
        async with AsyncExitStack() as opened:
            if where is not None:
                await opened.enter_async_context(listening(where, self._take))
            await _write("Open this address in a browser and log in:")
            await _write(sign_in.address)
            if where is None or has_person():
                # Only once the address is printed: a prompt that is hidden must not hide it. Before anybody is asked to
                # paste: what is pasted at once must not be shown either.
                lines = await opened.enter_async_context(typed_lines(hidden=True))
                await _write(
                    "Then paste the address that the browser ends at, and press Enter (it is not shown)."
                    if where is None
                    else "Waiting for the browser. If it runs on another machine, paste the address that it ends at,"
                    " and press Enter (it is not shown)."
                )
                pasting = asyncio.create_task(self._read_pasted(lines, is_only_way=where is None), name="pasted")
                opened.push_async_callback(_end, pasting)
            if opens_browser:
                _open_browser(sign_in.address)
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._code
            except TimeoutError:
                trouble = f"nobody logged in within {PATIENCE / 60:g} minutes; run the command again"
            except LoginRefused as error:
                trouble = f"the login was refused: {error}"
        raise LoginError(trouble)

    def _take(self, address: str) -> bool:
        return self._offer(address) is None

    def _offer(self, address: str) -> str | None:
        """Accept an answer; return what is wrong with it, if it is not for this login.

        A foreign answer does not end the login: any page in the browser can call an address on this machine.
        """
        try:
            code = read_answer(address, self._redirect_uri, self._state)
        except ForeignAnswer as error:
            return str(error)
        except LoginRefused as error:
            if not self._code.done():
                self._code.set_exception(error)
            return None
        if not self._code.done():  # browsers repeat a request, for instance to restore a page
            self._code.set_result(code)
        return None

    async def _read_pasted(self, lines: asyncio.Queue[Secret[str | None]], *, is_only_way: bool) -> None:
        while True:
            line = await lines.get()
            if line.reveal() is None:
                if is_only_way and not self._code.done():
                    self._code.set_exception(LoginRefused("no address was pasted"))
                return
            if not (line.reveal() or "").strip():
                continue
            if (objection := self._offer(line.reveal() or "")) is not None:
                await asyncio.to_thread(write_error, f"{objection}; paste the whole address that the browser ends at")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _open_browser(address: str) -> None:
    """Open the address in a browser with windows; a browser in the terminal would take the terminal."""
    has_windows = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if has_windows:
        # In a thread, because some browsers return only when they are closed.
        threading.Thread(target=webbrowser.open, args=(address,), name="browser", daemon=True).start()


# -- logout ------------------------------------------------------------------------------------------------------------


async def run_logout(service: Service) -> int:
    """End the tokens at Adobe, and forget them here; the exit status is 1 if Adobe did not confirm that."""
    store = service.store
    if not await asyncio.to_thread(store.exists):
        await _write("not logged in")
        return exit_status.OK
    confirmed, trouble = await asyncio.to_thread(_end_login, store, service)
    if trouble:
        raise LoginError(trouble)
    if not confirmed:
        await asyncio.to_thread(
            write_error,
            "warning: the login is forgotten here, but Adobe did not confirm that the tokens have ended; they do so"
            f" by themselves within {REFRESH_LIFETIME / 86400:g} days",
        )
        return exit_status.FAILED
    await _write("logged out")
    return exit_status.OK


def _end_login(store: LoginStore, service: Service) -> tuple[bool, str]:
    """Revoke and forget the login; return whether Adobe confirmed it, and what could not be deleted."""
    confirmed, trouble = False, ""
    with store.lock():
        try:
            login = store.load()
            confirmed = login is None or service.ims(login.ims_url).revoke(login)
        except LoginError as error:
            write_error(f"warning: {error}")  # it is deleted below, however damaged
        try:
            store.forget()
        except LoginError as error:
            trouble = str(error)
    return confirmed, trouble


# -- whoami ------------------------------------------------------------------------------------------------------------


async def run_whoami(service: Service, as_json: bool) -> int:
    """Print the user, the accounts, and how long the login holds."""
    async with service.uploader() as uploader:
        user, accounts = await uploader.user(), await uploader.accounts()
    # After the calls, which may have renewed it.
    login = None if service.token_variable else await asyncio.to_thread(service.store.load)
    now = time.time()
    if as_json:
        document = {
            "user": {"id": user.id, "name": user.name, "email": user.email},
            "accounts": [_account_row(account) for account in accounts],
            "login": _login_row(login, service.token_variable),
        }
        await asyncio.to_thread(write_json, json.dumps(document))
        return exit_status.OK
    await _write(f"user      {user.id}  {_describe_user(user)}")
    for account in accounts:
        await _write(f"account   {account.id}  {account.name}{_describe_space(account)}")
    if login is None:
        await _write(f"login     by {service.token_variable}{_describe_variable(service.token_variable)}")
    else:
        await _write(f"login     {_describe_hold(login, now)}; kept in {_place(login, service.store)}")
    return exit_status.OK


def _describe_user(user: RemoteUser) -> str:
    return f"{user.name} <{user.email}>" if user.email else user.name or user.id


def _describe_space(account: RemoteAccount) -> str:
    if account.storage_left is None or account.storage_limit is None:
        return ""
    return f" ({format_size(account.storage_left)} of {format_size(account.storage_limit)} free)"


def _describe_variable(variable: str | None) -> str:
    if variable == "FRAMEIO_TOKEN":
        return ", which is not renewed; how long it holds is not known"
    return ", and renewed as long as Adobe accepts them"


def _describe_hold(login: Login, now: float) -> str:
    """Return how long a login holds, as part of a sentence."""
    until = f"it holds until {_at(login.tokens.expires_at)}"
    if not login.tokens.is_renewable:
        return f"{until} and cannot be renewed"
    left = max(login.tokens.issued_at + REFRESH_LIFETIME - now, 0)
    days = format_count(round(left / 86400), "day")
    return f"{until}; a command renews it in time, if one runs within about {days}"


def _at(instant: float) -> str:
    return datetime.fromtimestamp(instant).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _place(login: Login, store: LoginStore) -> str:
    return "the keyring" if login.entry is not None else str(store.path)


def _account_row(account: RemoteAccount) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "storage_usage": account.storage_usage,
        "storage_limit": account.storage_limit,
    }


def _login_row(login: Login | None, variable: str | None) -> dict[str, object]:
    if login is None:
        return {"by": variable, "expires_at": None, "renewable": None, "kept_in": "environment"}
    expires_at = datetime.fromtimestamp(login.tokens.expires_at, UTC).isoformat(timespec="seconds")
    kept_in = "keyring" if login.entry is not None else "file"
    return {"by": "login", "expires_at": expires_at, "renewable": login.tokens.is_renewable, "kept_in": kept_in}


async def _write(line: str) -> None:
    # In a thread: while a slow reader blocks the write, Ctrl-C must still work.
    await asyncio.to_thread(write_line, line)
