"""The presigned PUT of a part: check it, store the part, and answer as S3 does, with errors in XML."""

from __future__ import annotations

import hashlib
import re
import secrets
from xml.sax.saxutils import escape

from aiohttp import web

from ._account import Account
from ._exchange import Exchange
from ._faults import STATED
from ._sigv4 import Refusal, refusal
from ._spool import Flip, PartWriter, StoredPart

PART_PATH = re.compile(r"/parts/(?P<file_id>[^/]+)/part_(?P<number>[0-9]+)|/uploads/(?P<single>[^/]+)/original\.[^/]*")

ORIGINAL_PATH = re.compile(r"/originals/(?P<file_id>[^/]+)")

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
MESSAGES = {
    "AccessDenied": (403, "Access Denied"),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match what the server received."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidRequest": (400, "Invalid Request"),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period. "
        "Idle connections will be closed.",
    ),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the server's time is too large."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method.",
    ),
    "SlowDown": (503, "Please reduce your request rate."),
    "TemporaryRedirect": (
        307,
        "Please re-send this request to the specified temporary endpoint. "
        "Continue to use the original request endpoint for future requests.",
    ),
}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html: the most in a single PUT.
LARGEST_PUT = 5 * 1024**3


def part_path(path: str) -> tuple[str, int] | None:
    """Return the file's ID and the part's number, or None if the path is not that of a part."""
    match = PART_PATH.fullmatch(path)
    if match is None:
        return None
    return match["file_id"] or match["single"], int(match["number"] or 1)


def error_document(status: int | None, code: str | None, message: str | None) -> web.Response:
    """Return an error in S3's form; an argument that is None follows from the others, or is that of 503 SlowDown."""
    if code is None:
        code = next((known for known, (s, _) in MESSAGES.items() if s == status), None)
        code = {None: "SlowDown", 403: "AccessDenied", 503: "SlowDown"}.get(status, code or "UnknownError")
    known_status, known_message = MESSAGES.get(code, (400, code))
    request_id, host_id = _ids()
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message or known_message)}</Message>"
        f"<RequestId>{request_id}</RequestId><HostId>{host_id}</HostId></Error>"
    )
    response = web.Response(status=status or known_status, body=document.encode())
    response.headers["Content-Type"] = "application/xml"
    _sign_off(response, request_id, host_id)
    return response


async def put_part(account: Account, exchange: Exchange) -> web.Response:
    """Receive and store a part as S3 does, unless the fault of the exchange prevents it.

    Raises:
        AnsweredError: The request was refused before its body, and the connection must be closed.
        NoAnswerError: The connection ended.
    """
    refused = _refusal(account, exchange.request)
    if refused is not None:
        return await exchange.refuse(error_document(*refused))
    seen = exchange.seen
    file = account.store.file(seen.file_id or "")
    exchange.armed = account.faults.strike(
        "part",
        seen.number,
        file.name if file else None,
        asks=exchange.expects,
        connection=exchange.request.protocol,
    )
    await exchange.begin()
    keep = file is not None and not exchange.meets("answer", "expire", "redirect", "garbled")
    flip: Flip | None = "corrupt" if exchange.meets("corrupt") else "rot" if exchange.meets("rot") else None
    writer = account.spool.writer(keep=keep, flip=flip, checksum=account.checksum)
    stored = await _receive(account, exchange, writer)
    if isinstance(stored, web.Response):
        return stored
    # The placeholder may have been deleted meanwhile, which S3 does not know.
    if file is not None and 1 <= (seen.number or 0) <= max(1, len(file.part_sizes)):
        account.part_arrived(file, seen.number or 1, stored)
    exchange.lose_answer()
    return _granted(account, exchange, stored)


async def get_original(account: Account, exchange: Exchange) -> web.Response:
    """Answer a request for the first byte of an original, as S3 does for an object that was put in parts.

    Raises:
        AnsweredError: The request was refused, and the connection must be closed.
        NoAnswerError: The connection ended.
    """
    request = exchange.request
    headers = {name.lower(): value for name, value in request.headers.items()}
    refused = refusal(account.keys, method="GET", target=_target(request), headers=headers, now=account.clock())
    if refused is not None:
        return await exchange.refuse(error_document(*refused))
    file = account.store.file(exchange.seen.file_id or "")
    exchange.armed = account.faults.strike("original", None, file.name if file else None)
    await exchange.begin()
    while await exchange.block():
        pass
    instead = await exchange.interrupt()
    if instead is not None:
        return instead
    if file is None or not file.complete:
        return error_document(404, "NoSuchKey", None)
    response = web.Response(status=206, body=b"\0")
    _sign_off(response, *_ids())
    # How S3 makes the ETag of a multipart upload: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
    md5s = [bytes.fromhex(md5) for md5 in file.etags if md5 is not None]
    whole = hashlib.md5(b"".join(md5s), usedforsecurity=False).hexdigest()
    tail = "" if len(md5s) == 1 else f"-{len(md5s)}"
    etag = (whole if tail else md5s[0].hex()) + tail
    odd = hashlib.md5(etag.encode(), usedforsecurity=False).hexdigest()
    if exchange.meets("kms") or account.etags == "kms":
        etag = odd
        response.headers["x-amz-server-side-encryption"] = "aws:kms"
    elif exchange.meets("odd_etag") or account.etags == "opaque":
        etag = "opaque"
    elif exchange.meets("wrong_etag"):
        etag = odd + tail
    if account.etags is not None and not exchange.meets("no_etag"):
        response.headers["ETag"] = f'"{etag}"'
    if exchange.meets(*STATED):
        exchange.reached()
    response.headers["Content-Range"] = f"bytes 0-0/{file.size}"
    return response


def original_path(path: str) -> str | None:
    """Return the ID of the file whose original a path names, or None."""
    match = ORIGINAL_PATH.fullmatch(path)
    return None if match is None else match["file_id"]


async def _receive(account: Account, exchange: Exchange, writer: PartWriter) -> StoredPart | web.Response:
    """Return the stored part, or the fault's answer instead. An incomplete part leaves nothing behind."""
    received = False
    try:
        while block := await exchange.block():
            await writer.write(block)
        answer = await exchange.interrupt()
        if answer is not None:
            return answer
        stored = await writer.finish()
        received = True
        return stored
    finally:
        if not received:
            # In a separate task: the task of the request may be cancelled, and the descriptor must still be closed.
            account.run_behind(writer.discard())


def _refusal(account: Account, request: web.BaseRequest) -> Refusal | None:
    headers = {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    if "expect" in headers and headers["expect"].lower() != "100-continue":
        return Refusal(417, "ExpectationFailed", "The expectation given in an Expect header could not be met")
    refused = refusal(
        account.keys, method=request.method, target=_target(request), headers=headers, now=account.clock()
    )
    if refused is not None:
        return refused
    # `Transfer-Encoding: chunked` is refused above for the same reason: S3 has to know the length in advance.
    if "content-length" not in headers:
        return Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if int(headers["content-length"]) > LARGEST_PUT:
        return Refusal(400, "EntityTooLarge", MESSAGES["EntityTooLarge"][1])
    return None


def _target(request: web.BaseRequest) -> str:
    """Return path and query as sent, without the scheme and host that a request to a proxy has."""
    raw = request.raw_path
    return raw if raw.startswith("/") else "/" + raw.partition("://")[2].partition("/")[2]


def _granted(account: Account, exchange: Exchange, stored: StoredPart) -> web.Response:
    # An ETag is the object's MD5 if it was put in one piece and encrypted with SSE-S3 or not at all; with SSE-KMS or
    # SSE-C it is not (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
    response = web.Response(status=200)
    _sign_off(response, *_ids())
    etags = account.etags
    # The MD5 of the MD5's text has the right form and never the right value.
    odd = hashlib.md5(stored.md5.encode(), usedforsecurity=False).hexdigest()
    if exchange.meets("wrong_etag"):
        etag: str | None = odd
    elif exchange.meets("no_etag") or etags is None:
        etag = None
    elif exchange.meets("odd_etag") or etags == "opaque":
        etag = odd + "-3"
    else:
        etag = odd if exchange.meets("kms") or etags == "kms" else stored.md5
    if etag is not None:
        response.headers["ETag"] = f'"{etag}"'
    if exchange.meets("kms") or etags == "kms":
        response.headers["x-amz-server-side-encryption"] = "aws:kms"
        response.headers["x-amz-server-side-encryption-aws-kms-key-id"] = (
            "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000"
        )
    else:
        response.headers["x-amz-server-side-encryption"] = "AES256"
    _state_checksum(account, exchange, stored, response)
    if exchange.meets("corrupt", "rot", *STATED):
        exchange.reached()
    return response


def _state_checksum(account: Account, exchange: Exchange, stored: StoredPart, response: web.Response) -> None:
    # S3 computes a CRC64NVME of every upload that brings no checksum, whatever the encryption, and states it in the
    # answer (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
    checksum = stored.checksum
    if checksum is None or exchange.meets("no_checksum"):
        return
    if exchange.meets("wrong_checksum"):
        checksum = ("B" if checksum[0] == "A" else "A") + checksum[1:]
    elif exchange.meets("odd_checksum"):
        checksum = checksum[:-3]
    response.headers[f"x-amz-checksum-{account.checksum}"] = checksum
    response.headers["x-amz-checksum-type"] = "FULL_OBJECT"


def _sign_off(response: web.Response, request_id: str, host_id: str) -> None:
    response.headers["x-amz-request-id"] = request_id
    response.headers["x-amz-id-2"] = host_id
    response.headers["Server"] = "AmazonS3"


def _ids() -> tuple[str, str]:
    # In the form of x-amz-request-id and x-amz-id-2, which AWS support asks for.
    return secrets.token_hex(8).upper(), secrets.token_urlsafe(56)
