"""The page, its security headers, and the host names that it is served under."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

HOSTS = os.environ.get("HOSTS", "127.0.0.1,localhost").split(",")
"""The host names of this server. It refuses others: a foreign page can point its own name at this machine (DNS
rebinding), and would then have the same origin."""

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8").encode()


def hash_of(tag: str) -> str:
    """Return the hash of the page's one inline script or style, as a content security policy names it."""
    (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline).digest()).decode()}'"


HEADERS = {
    # Whatever a file name or an answer of Frame.io contains, no other script runs, and no other server is contacted.
    "Content-Security-Policy": f"default-src 'none'; script-src {hash_of('script')}; style-src {hash_of('style')};"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
