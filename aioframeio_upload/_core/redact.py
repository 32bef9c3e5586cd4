"""Keep credentials out of logs, messages and tracebacks.

Anyone who reads a token or a part's link can act for the user. These reach logs, error trackers and terminals in two
ways: in texts that a server, a callable or a file object wrote, and in the local variables of a traceback, which
Sentry, rich and `pytest -l` print. `redact` is for the first way, `Secret`, `PartUrl` and `without_frames` are for the
second.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from html import unescape
from typing import Final, Generic, SupportsIndex, TypeVar
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlsplit

V = TypeVar("V", covariant=True)
E = TypeVar("E", bound=BaseException)

HIDDEN: Final = "…"
"""Replaces what was removed."""


# -- values and exceptions ---------------------------------------------------------------------------------------------


class Secret(Generic[V]):
    """A value that neither `repr` nor `str` shows."""

    __slots__ = ("_value",)

    def __init__(self, value: V) -> None:
        self._value = value

    def reveal(self) -> V:
        """Return the value. Do not assign it to a variable, which a traceback may print."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"


class PartUrl(str):
    """A part's link: a string whose `repr` leaves out the query.

    `str()` and f-strings return the whole link, because `yarl.URL`, and so aiohttp, calls `str()` on a subclass.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown_url(self))

    # Slices stay of this type, because rich truncates a long string before it takes the `repr`.
    def __getitem__(self, key: SupportsIndex | slice) -> PartUrl:
        return PartUrl(super().__getitem__(key))

    # Strings are immutable. Without these methods, `dataclasses.asdict` would copy each link through pickle.
    def __copy__(self) -> PartUrl:
        return self

    def __deepcopy__(self, memo: object) -> PartUrl:
        return self


def split_url(url: str) -> SplitResult | None:
    """Split a URL; return None if it is not valid."""
    try:
        found = urlsplit(url)
        _ = found.port  # raises ValueError if the port is not a number; `urlsplit` itself does not check it
    except ValueError:
        return None
    return found


def shown_url(url: str) -> str:
    """Return a URL without its query, fragment, user and password."""
    found = split_url(url)
    if found is None or not found.hostname:
        return HIDDEN
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}{found.path}?{HIDDEN}"


def address_of(url: str) -> str:
    """Return a URL's host and port, without user and password, for log messages."""
    return urlsplit(url).netloc.rpartition("@")[2]


def without_frames(error: E, *, causes: bool = False) -> E:
    """Remove the frames that an exception has passed so far, because their variables hold credentials.

    Use a bare `raise` directly afterwards, so that the traceback begins in the frame above. Exceptions of aiohttp and
    yarl are removed from its chain too, because their messages quote the URL. The innermost code location is kept as a
    note. The causes keep their frames, which mostly belong to the caller's own code, unless `causes` is true.
    """
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    # The first frame of the traceback is the one that calls this function, so a note only helps if there are deeper
    # ones. Errors of this library are clear without it.
    is_foreign = isinstance(error, Exception) and not type(error).__module__.startswith(_OURS)
    if innermost is not None and innermost is not error.__traceback__ and is_foreign:
        code = innermost.tb_frame.f_code
        name = innermost.tb_frame.f_globals.get("__name__", "?")
        note = f"Raised in {name}.{code.co_qualname}, line {innermost.tb_lineno}; the frames there hold credentials."
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    error.__traceback__ = None
    if _quotes_urls(error.__cause__):
        error.__cause__ = None
    cause = error.__cause__
    while causes and cause is not None:
        cause.__traceback__ = cause.__context__ = None
        cause = cause.__cause__
    context = error.__context__
    # anyio recognises its own cancellations by their `__context__` chain, so that is kept.
    if context is not None and not _is_cancellation(context):
        error.__context__ = None
    elif context is not None:
        without_frames(context)
    return error


_OURS: Final = __name__.partition(".")[0]


def _quotes_urls(error: BaseException | None) -> bool:
    return error is not None and type(error).__module__.partition(".")[0] in ("aiohttp", "yarl")


def _is_cancellation(error: BaseException) -> bool:
    # By name, because this package does not import asyncio.
    return any(kind.__name__ == "CancelledError" for kind in type(error).__mro__)


# -- foreign texts -----------------------------------------------------------------------------------------------------

SHORTEST_SECRET: Final = 8
"""Characters. Shorter tokens occur in tests only, and removing them would garble the service's messages."""

TOKEN_PIECE: Final = 8
"""Characters in a row that reveal a token: a service may quote only its beginning or end."""

LINK_PIECE: Final = 16
"""The same for the values in a link's query. More, because they include the region, which S3's messages may name."""

MAX_WORDS: Final = 1 << 14
"""Characters of a text that are examined; the rest is cut off first. No useful message is longer."""

HARMLESS: Final = frozenset(
    {"x-amz-algorithm", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-id", "expires", "partnumber"}
)
"""Parameters of a link whose values are not secret (AWS SigV4, "query parameters")."""


def redact(
    words: str,
    *,
    tokens: Iterable[str] = (),
    links: Iterable[str] = (),
    limit: int = 1000,
    digests: bool = False,
) -> str:
    """Make a foreign text safe to log: remove credentials, put it on one line, and truncate it.

    It is truncated last, because a truncated secret would not be recognised. A word that contains a credential, in any
    encoding, is replaced as a whole.

    Args:
        words: A text that a server, a callable or a file object wrote.
        tokens: Credentials, removed wherever eight of their characters in a row occur.
        links: URLs; the values of their query are removed.
        limit: The maximum number of characters to return.
        digests: Keep 64 hexadecimal digits, which would otherwise count as a signature, unless they are from `links`.
    """
    known = _Known(tokens, links, _LOOKS_SECRET if digests else _LOOKS_LIKE_SIGNED)
    text = _KEYED.sub(_hide_value, words[:MAX_WORDS])
    text = re.sub(r"\S+", lambda word: _hide_word(word[0]) if known.shows_in(word[0]) else word[0], text)
    text = one_line(text)
    return text if len(text) <= limit else text[: limit - 1] + HIDDEN


def redact_id(word: str | None, *, tokens: Iterable[str] = (), links: Iterable[str] = ()) -> str | None:
    """Return a service's identifier, truncated; None if it is missing or may be a credential."""
    if not word or redact(word, tokens=tokens, links=links, limit=MAX_WORDS, digests=True) != word:
        return None
    return word[:120]


def one_line(text: str) -> str:
    """Escape, as Python does, characters that move the cursor, break lines or change the reading direction."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _INVISIBLE else character
        for character in text
    )


_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and format characters (bidi among them), lone surrogates, line and paragraph separators."""

_NAMES: Final = (
    r"(?:proxy-)?authorization|x-amz-[a-z-]{1,60}|x-goog-[a-z-]{1,60}|signature|credential|cookie|set-cookie|awsaccesskeyid"
    r"|secretaccesskey|sessiontoken"
)
_LOOSE: Final = r"[a-z_-]{0,40}(?:token|secret|password|passwd|api_?-?key|client_secret|sig)|bearer|basic"

_KEYED: Final = re.compile(
    # `X-Amz-Signature: …`, `"Signature" = "…"`, `Authorization: Bearer …`
    rf"""(?<![a-z0-9])(?P<name>{_NAMES})(?P<is>(?:\\?["']|&quot;)?\s*[:=]\s*(?:\\?["']|&quot;)?)"""
    r"""(?P<value>(?:bearer|basic|digest|aws4-hmac-sha256)\s+[^\s"']+|[^\s"']+)"""
    # `Bearer …`, `token=…`: only if what follows is not a word of a sentence.
    rf"""|(?<![a-z0-9])(?P<loose>{_LOOSE})(?P<as>(?:\\?["']|&quot;)?\s*[:=]\s*(?:\\?["']|&quot;)?|\s+)"""
    r"""(?P<word>[^\s"']+)""",
    re.IGNORECASE,
)


def _hide_value(found: re.Match[str]) -> str:
    if found["name"]:
        return f"{found['name']}{found['is']}{HIDDEN}" if found["name"].lower() not in HARMLESS else found[0]
    if not _looks_like_token(found["word"]):
        return found[0]
    return f"{found['loose']}{found['as']}{HIDDEN}"


def _hide_word(word: str) -> str:
    """Hide a word, but keep the punctuation around it."""
    before = len(word) - len(word.lstrip("([{<\"'"))
    after = len(word.rstrip(")]}>\"',;.!?:"))
    return word[:before] + HIDDEN + word[max(before, after) :]


def _looks_like_token(value: str) -> bool:
    """Return whether a value looks like a token rather than a word: it is long, or contains digits."""
    bare = value.strip(".,;:!?()[]{}<>")
    return len(bare) >= SHORTEST_SECRET and (len(bare) >= 20 or any(character.isdigit() for character in bare))


_LOOKS_SECRET: Final = re.compile(
    r"https?:/|[a-z][a-z0-9+.-]{0,30}://[^\s/]|^\W?//\S*\?"  # a URL, with or without its scheme
    rf"|[?&;](?:{_NAMES})=|(?:x-amz-[a-z-]{{1,60}}|signature|credential|awsaccesskeyid)=[^\s=]"
    r"|\beyj[\w-]{8,}"  # a JSON web token
    r"|\bfio-[a-z]-[\w-]{8,}"  # a Frame.io developer token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}",  # an AWS access key (IAM, "unique identifiers")
    re.IGNORECASE,
)

_LOOKS_LIKE_SIGNED: Final = re.compile(rf"{_LOOKS_SECRET.pattern}|\b[0-9a-f]{{64}}\b", re.IGNORECASE)
"""The same, and a SigV4 signature. In an identifier, 64 digits are a digest, such as the ETag of some S3 servers."""


class _Known:
    """The credentials of a call, in every encoding in which a server may quote them."""

    def __init__(self, tokens: Iterable[str], links: Iterable[str], looks: re.Pattern[str]) -> None:
        self._looks = looks
        self._short = _pieces((token for token in tokens if len(token) >= SHORTEST_SECRET), TOKEN_PIECE)
        self._long = _pieces((value for link in links for value in _values(link)), LINK_PIECE)

    def shows_in(self, word: str) -> bool:
        """Return whether a word contains one of the credentials, or looks as if it contained another."""
        for spelling in _spellings(word):
            if self._looks.search(spelling):
                return True
            if _shares(spelling, self._short, TOKEN_PIECE) or _shares(spelling, self._long, LINK_PIECE):
                return True
        return False


def _values(link: str) -> Iterable[str]:
    """Yield the secrets of a link: user, password, and the values of its query, both raw and decoded."""
    found = split_url(link)
    if found is None:
        yield link
        return
    for word in re.split(r"[:@]", found.netloc.rpartition("@")[0]):
        if len(word) >= SHORTEST_SECRET:
            yield from (word, unquote(word))
    for pair in re.split(r"[&;]", found.query):
        name, _, value = pair.partition("=")
        if unquote(name).lower() not in HARMLESS:
            yield from {value, unquote(value), unquote_plus(value)} if value else {name}


def _pieces(secrets: Iterable[str], length: int) -> frozenset[str]:
    """Return each run of `length` characters of the secrets: plain, percent-encoded, in base64 and hexadecimal."""
    found: set[str] = set()
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        spellings = {secret, quote(raw, safe=""), raw.hex()}
        # In base64 a text looks different at each offset modulo 3, and its ends mix with the neighbouring bytes.
        for shift in range(3):
            padded = b"\0" * shift + raw
            for encode in (b64encode, urlsafe_b64encode):
                spellings.add(encode(padded).decode().rstrip("=")[(0, 2, 3)[shift] : -1])
        for spelling in spellings:
            if len(spelling) < length:
                found.update({spelling} if len(spelling) >= SHORTEST_SECRET else ())
            found.update(spelling[at : at + length] for at in range(len(spelling) - length + 1))
    return frozenset(found)


def _shares(word: str, pieces: frozenset[str], length: int) -> bool:
    if not pieces:
        return False
    if any(word[at : at + length] in pieces for at in range(len(word) - length + 1)):
        return True
    return any(piece in word for piece in pieces if len(piece) < length)


def _spellings(word: str) -> Iterable[str]:
    """Return a word as it is, and decoded as often as it may have been encoded."""
    seen = [word]
    for _ in range(3):
        decoded = _unescape_backslashes(unescape(unquote(seen[-1])))
        decoded = "".join(one for one in decoded if unicodedata.category(one) not in _INVISIBLE)
        if decoded == seen[-1]:
            break
        seen.append(decoded)
    return seen


_ESCAPE: Final = re.compile(r"\\(?:u\{?([0-9a-fA-F]{4})\}?|x([0-9a-fA-F]{2})|(.)|$)")


def _unescape_backslashes(word: str) -> str:
    """Undo the backslash escapes of JSON, C and Python's `repr`."""

    def plain(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else found[3] or ""

    return _ESCAPE.sub(plain, word)
