"""The page, its headers and the host names it is served under: what keeps other sites out of it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

HOSTS = os.environ.get("HOSTS", "127.0.0.1,localhost").split(",")
"""The names that this server is reached by. Asked for another one it refuses: a foreign page can point a name of its
own at this machine (DNS rebinding), and would then be of the same origin."""

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8").encode()


def hash_of(tag: str) -> str:
    """Return the hash of the page's one inline script or style, as a content security policy names it."""
    (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline).digest()).decode()}'"


HEADERS = {
    # Whatever a file is called, and whatever Frame.io answers: no other script runs, and nobody else is asked.
    "Content-Security-Policy": f"default-src 'none'; script-src {hash_of('script')}; style-src {hash_of('style')};"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
