"""Choose the account of a command: the one that was named, remembered, the only one, or a person's choice."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import RemoteAccount
from .._core.redact import one_line
from .._io.atomic_write import write_atomically
from .format import format_count
from .output import can_ask, write_error
from .typed_lines import typed_lines
from .usage_error import UsageError

if TYPE_CHECKING:
    from .service import Service

ATTEMPTS = 3
"""Answers that a person may give."""


async def with_account(service: Service) -> Service:
    """Return the service with an account. If none was named, ask Frame.io which accounts there are.

    `--account` and a person's choice are remembered for this service's address. What is remembered counts only if the
    token can read that account, because the next command may have another token.

    Raises:
        UsageError: There are several accounts, and nobody to ask; or none.
        ApiError: The service refused to list them.
    """
    if service.account_id is not None:
        if service.has_chosen:
            await asyncio.to_thread(_remember, service, service.account_id)
        return service
    async with replace(service, needs_account=False).uploader() as uploader:
        accounts = await uploader.accounts()
    if not accounts:
        raise UsageError("this token can read no account at Frame.io; ask for an invitation, or use another token")
    known = {account.id for account in accounts}
    before = await asyncio.to_thread(_recall, service)
    if before in known:
        return replace(service, account_id=before)
    if len(accounts) == 1:
        return replace(service, account_id=accounts[0].id)
    chosen = await _ask(accounts)
    await asyncio.to_thread(_remember, service, chosen)
    return replace(service, account_id=chosen)


async def _ask(accounts: Sequence[RemoteAccount]) -> str:
    """Let a person choose.

    Raises:
        UsageError: There is none, or no valid answer; the message lists the accounts.
    """
    rows = [f"{account.id}  {one_line(account.name)}" for account in accounts]
    if not can_ask():
        listed = "; ".join(rows)
        raise UsageError(
            f"there are {format_count(len(rows), 'account')}: give --account ID, which is remembered, or set"
            f" FRAMEIO_ACCOUNT_ID: {listed}"
        )
    await asyncio.to_thread(_show, rows)
    async with typed_lines() as lines:
        for _ in range(ATTEMPTS):
            typed = (await lines.get()).reveal()
            if typed is None:
                break
            word = typed.strip()
            if re.fullmatch(r"[0-9]{1,9}", word) and 1 <= int(word) <= len(rows):
                return accounts[int(word) - 1].id
            if any(word == account.id for account in accounts):
                return word
            await asyncio.to_thread(write_error, f"a number from 1 to {len(rows)}:")
    raise UsageError("no account was chosen: give --account ID, or set FRAMEIO_ACCOUNT_ID")


def _show(rows: Sequence[str]) -> None:
    write_error("Which account? The choice is remembered.")
    for number, row in enumerate(rows, 1):
        write_error(f"{number:>3}  {row}")
    write_error("number:")


# -- what is remembered ------------------------------------------------------------------------------------------------


def _path(service: Service) -> Path | None:
    return None if service.state is None else service.state / "account.json"


def _recall(service: Service) -> str | None:
    """Return the remembered account of this service's address, if any. A damaged file remembers nothing."""
    path = _path(service)
    found = {} if path is None else _load(path)
    account = found.get(service.base_url)
    return account if isinstance(account, str) else None


def _load(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(service: Service, account_id: str) -> None:
    path = _path(service)
    if path is None:
        return  # a user without a home folder, as in a container, keeps nothing else either
    found = _load(path)
    if found.get(service.base_url) == account_id:
        return
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        write_atomically(path, json.dumps(found | {service.base_url: account_id}, indent=1).encode(), mode=0o600)
    except OSError as error:
        write_error(f"warning: the account is not remembered: {path}: {error.strerror or error}")
