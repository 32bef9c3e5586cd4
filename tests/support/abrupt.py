"""A server that refuses every part while its body is still being sent, and closes without reading the rest.

The kernel answers the rest of the body with an RST, which may overtake the refusal. The server runs in a thread: in
the client's own loop the answer would always be read before the RST is noticed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

XML = b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>refused</Message></Error>"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(XML), XML)


@contextlib.contextmanager
def refusing(context: ssl.SSLContext | None, *, loses: bool = False) -> Iterator[int]:
    """Listen on loopback and yield the port; with `loses`, the refusal is lost unless the client asked (`Expect`)."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(listener, context, loses), name="a server that refuses")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        listener.close()
        thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext | None, loses: bool) -> None:
    with contextlib.suppress(OSError):
        while True:
            _refuse(listener.accept()[0], context, loses)


def _refuse(connection: socket.socket, context: ssl.SSLContext | None, loses: bool) -> None:
    """Read the headers, then either answer or let an RST overtake the answer, as sometimes happens by itself."""
    with contextlib.suppress(OSError), connection:
        connection.settimeout(10)
        with context.wrap_socket(connection, server_side=True) if context is not None else connection as plain:
            head = b""
            while b"\r\n\r\n" not in head:
                data = plain.recv(4096)
                if not data:
                    return
                head += data
            if loses and b"\r\nexpect:" not in head.lower():
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            plain.sendall(REFUSAL)
