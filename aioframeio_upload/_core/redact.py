"""What must not be shown: credentials in a type that hides them, and other people's words without any.

A token and a part's link let whoever reads them act for the user. They reach logs, error trackers and terminals on two
ways: in words that a server, a callable or a file object wrote, and in the local variables of a traceback, which
Sentry, rich and `pytest -l` print. `redact` is for the first, `Secret`, `PartUrl` and `without_frames` for the second.
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
"""What stands in the place of what was taken out."""


# -- values that hide themselves ---------------------------------------------------------------------------------------


class Secret(Generic[V]):
    """A value that neither `repr` nor `str` shows."""

    __slots__ = ("_value",)

    def __init__(self, value: V) -> None:
        self._value = value

    def reveal(self) -> V:
        """Return the value; not into a variable, which a traceback may print."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"


class PartUrl(str):
    """A part's link: a string in every respect, but its `repr` shows no query.

    `str()` and f-strings give the whole link, because `yarl.URL`, and so aiohttp, calls `str()` on a subclass.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown_url(self))

    # A piece is hidden like the whole: rich cuts a long string before it takes its repr.
    def __getitem__(self, key: SupportsIndex | slice) -> PartUrl:
        return PartUrl(super().__getitem__(key))

    # Strings are immutable; without these, `dataclasses.asdict` would copy each link of a plan through pickle.
    def __copy__(self) -> PartUrl:
        return self

    def __deepcopy__(self, memo: object) -> PartUrl:
        return self


def split_url(url: str) -> SplitResult | None:
    """Split a URL; None where it cannot be."""
    try:
        found = urlsplit(url)
        _ = found.port  # refuses one that is no number
    except ValueError:
        return None
    return found


def shown_url(url: str) -> str:
    """Return where a URL leads: without its query, fragment, user and password."""
    found = split_url(url)
    if found is None or not found.hostname:
        return HIDDEN
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}{found.path}?{HIDDEN}"


def address_of(url: str) -> str:
    """Return a URL's host and port: what a log may name."""
    return urlsplit(url).netloc.rpartition("@")[2]


def without_frames(error: E, *, causes: bool = False) -> E:
    """Remove the frames that an exception came through so far, because their variables hold credentials.

    To be raised again at once, by a bare `raise`: the traceback then begins in the frame above. Exceptions of aiohttp
    and yarl that hang on it are removed as well, for their messages quote the URL. The innermost place is kept as a
    note, without values. The causes of an error keep their frames, which are mostly the caller's own code; with
    `causes` they lose them as well.
    """
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    # The traceback begins with the frame that calls this; the note is for what happened further down. An error of ours
    # says enough.
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
    # anyio recognises its cancellations by the chain of them, so those stay.
    if context is not None and not _is_cancellation(context):
        error.__context__ = None
    elif context is not None:
        without_frames(context)
    return error


_OURS: Final = __name__.partition(".")[0]


def _quotes_urls(error: BaseException | None) -> bool:
    return error is not None and type(error).__module__.partition(".")[0] in ("aiohttp", "yarl")


def _is_cancellation(error: BaseException) -> bool:
    # By name: this module does not import asyncio.
    return any(kind.__name__ == "CancelledError" for kind in type(error).__mro__)


# -- other people's words ----------------------------------------------------------------------------------------------

SHORTEST_SECRET: Final = 8
"""Characters: a shorter token is a test's, and taking it out of the service's words would garble them."""

TOKEN_PIECE: Final = 8
"""Characters in a row that give away a token: a service may quote the beginning or the end only."""

LINK_PIECE: Final = 16
"""The same for the values in a link's query. Longer, for they name the region, too, which S3's words must keep."""

MAX_WORDS: Final = 1 << 14
"""Characters of a text that are looked at; the rest is cut off before. No error says as much."""

HARMLESS: Final = frozenset(
    {"x-amz-algorithm", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-id", "expires", "partnumber"}
)
"""Parameters of a link whose values are no secret (AWS SigV4, "query parameters")."""


def redact(
    words: str,
    *,
    tokens: Iterable[str] = (),
    links: Iterable[str] = (),
    limit: int = 1000,
    digests: bool = False,
) -> str:
    """Return foreign words as they may be logged: without credentials, on one line, and cut.

    In this order: a secret that was cut first would not be recognised. A word that holds a credential, in whatever
    spelling, is replaced as a whole.

    Args:
        words: What a server, a callable or a file object wrote.
        tokens: Credentials that are taken out wherever eight of their characters in a row turn up.
        links: URLs whose query's values are taken out.
        limit: The most characters to return.
        digests: Keep 64 hexadecimal digits, which are a signature elsewhere; not those of a known link.
    """
    known = _Known(tokens, links, _LOOKS_SECRET if digests else _LOOKS_LIKE_SIGNED)
    text = _KEYED.sub(_hide_value, words[:MAX_WORDS])
    text = re.sub(r"\S+", lambda word: _hide_word(word[0]) if known.shows_in(word[0]) else word[0], text)
    text = one_line(text)
    return text if len(text) <= limit else text[: limit - 1] + HIDDEN


def redact_id(word: str | None, *, tokens: Iterable[str] = (), links: Iterable[str] = ()) -> str | None:
    """Return an identifier of the service's as it may be shown; None where it is none or may be a credential."""
    if not word or redact(word, tokens=tokens, links=links, limit=MAX_WORDS, digests=True) != word:
        return None
    return word[:120]


def one_line(text: str) -> str:
    """Show what would move the cursor, begin a line or turn the reading direction, as Python's escapes."""
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
    # `Bearer …`, `token=…`: only what is no word of a sentence.
    rf"""|(?<![a-z0-9])(?P<loose>{_LOOSE})(?P<as>(?:\\?["']|&quot;)?\s*[:=]\s*(?:\\?["']|&quot;)?|\s+)"""
    r"""(?P<word>[^\s"']+)""",
    re.IGNORECASE,
)


def _hide_value(found: re.Match[str]) -> str:
    if found["name"]:
        return f"{found['name']}{found['is']}{HIDDEN}" if found["name"].lower() not in HARMLESS else found[0]
    if not _is_no_word(found["word"]):
        return found[0]
    return f"{found['loose']}{found['as']}{HIDDEN}"


def _hide_word(word: str) -> str:
    """Hide a word, but not the punctuation of the sentence that it is in."""
    before = len(word) - len(word.lstrip("([{<\"'"))
    after = len(word.rstrip(")]}>\"',;.!?:"))
    return word[:before] + HIDDEN + word[max(before, after) :]


def _is_no_word(value: str) -> bool:
    """Say whether this looks like a token and not like a word: long, or of letters and digits mixed."""
    bare = value.strip(".,;:!?()[]{}<>")
    return len(bare) >= SHORTEST_SECRET and (len(bare) >= 20 or any(character.isdigit() for character in bare))


_LOOKS_SECRET: Final = re.compile(
    r"https?:/|[a-z][a-z0-9+.-]{0,30}://[^\s/]|^\W?//\S*\?"  # a URL, with or without its scheme
    rf"|[?&;](?:{_NAMES})=|(?:x-amz-[a-z-]{{1,60}}|signature|credential|awsaccesskeyid)=[^\s=]"
    r"|\beyj[\w-]{8,}"  # a JSON web token
    r"|\bfio-[a-z]-[\w-]{8,}"  # a developer token of Frame.io's
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}",  # an access key of AWS's (IAM, "unique identifiers")
    re.IGNORECASE,
)

_LOOKS_LIKE_SIGNED: Final = re.compile(rf"{_LOOKS_SECRET.pattern}|\b[0-9a-f]{{64}}\b", re.IGNORECASE)
"""The same, and a SigV4 signature. In an identifier it is a digest, such as the ETag of other servers than S3."""


class _Known:
    """The credentials of a call, in every spelling that a server may quote them in."""

    def __init__(self, tokens: Iterable[str], links: Iterable[str], looks: re.Pattern[str]) -> None:
        self._looks = looks
        self._short = _pieces((token for token in tokens if len(token) >= SHORTEST_SECRET), TOKEN_PIECE)
        self._long = _pieces((value for link in links for value in _values(link)), LINK_PIECE)

    def shows_in(self, word: str) -> bool:
        """Say whether a word holds one of them, or looks as if it held another."""
        for spelling in _spellings(word):
            if self._looks.search(spelling):
                return True
            if _shares(spelling, self._short, TOKEN_PIECE) or _shares(spelling, self._long, LINK_PIECE):
                return True
        return False


def _values(link: str) -> Iterable[str]:
    """Give what is secret in a link: its user and password, and its query's values as they stand and decoded."""
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
    """Give each run of so many characters of the secrets: plain, in percent-encoding, base64 and hexadecimal."""
    found: set[str] = set()
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        spellings = {secret, quote(raw, safe=""), raw.hex()}
        for shift in range(3):  # in base64 a text looks different at each offset; the ends mix with what is beside it
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
    """Give a word as it stands, and decoded as often as it may have been encoded."""
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
    """Undo what JSON, a C string or Python's `repr` do."""

    def plain(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else found[3] or ""

    return _ESCAPE.sub(plain, word)
