"""Test what the answer to a request for a stored original proves about a source."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import Verification
from aioframeio_upload._core.verifying import StoredOriginal, compare_original, part_sizes, read_original

MD5 = "0cc175b9c0f1b6a831c399e269772661"
CRC, OTHER = "rosUhgp5mIg=", "AAAAAAAAAAA="


@given(st.integers(1, 10**13), st.integers(1, 10_000))
def test_parts_are_equal_but_for_the_last_and_make_up_the_file(size: int, parts: int) -> None:
    sizes = part_sizes(size, min(parts, size))
    assert sum(sizes) == size
    assert len(sizes) <= min(parts, size)
    assert len(set(sizes[:-1])) <= 1
    assert 0 < sizes[-1] <= sizes[0]


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        ({"ETag": f'"{MD5}"'}, StoredOriginal(10, etag=MD5)),
        ({"ETag": f'"{MD5.upper()}-3"'}, StoredOriginal(10, 3, True, MD5)),
        ({"ETag": f'"{MD5}-3"', "Content-Range": "bytes 0-0/12"}, StoredOriginal(12, 3, True, MD5)),
        ({"ETag": f'"{MD5}-3"', "x-amz-server-side-encryption": "aws:kms"}, StoredOriginal(10)),
        ({"ETag": f'"{MD5}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, StoredOriginal(10)),
        ({"ETag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"}, StoredOriginal(10, etag=MD5)),
        ({"ETag": f'"{MD5}-11"'}, StoredOriginal(10)),  # more parts than bytes
        ({"ETag": f'"{MD5}-0"'}, StoredOriginal(10)),
        ({"ETag": f'"{MD5}-99999"'}, StoredOriginal(10)),
        ({"ETag": '"5f3c-264"'}, StoredOriginal(10)),
        ({"Content-Range": "bytes 0-0/*"}, StoredOriginal(10)),
        ({}, StoredOriginal(10)),
        ({"x-amz-checksum-crc64nvme": CRC}, StoredOriginal(10, crc64nvme=CRC)),
        ({"x-amz-checksum-crc64nvme": CRC, "x-amz-checksum-type": "COMPOSITE"}, StoredOriginal(10)),
    ],
)
def test_what_an_answer_states_of_an_original(headers: dict[str, str], stored: StoredOriginal) -> None:
    assert read_original(10, headers) == stored


def etag_of(*parts: bytes) -> str:
    return hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()


MD5S = [hashlib.md5(part).hexdigest() for part in (b"ab", b"c")]


@pytest.mark.parametrize(
    ("stored", "md5s", "expected"),
    [
        (StoredOriginal(4), MD5S, Verification(False, None, None, CRC)),
        (StoredOriginal(3), MD5S, Verification(True, None, "size", CRC)),
        (StoredOriginal(3, 2, True, etag_of(b"ab", b"c")), MD5S, Verification(True, True, "etag", CRC)),
        (StoredOriginal(3, 2, True, etag_of(b"ab", b"d")), MD5S, Verification(True, False, None, CRC)),
        (StoredOriginal(3, etag=MD5S[0]), MD5S[:1], Verification(True, True, "etag", CRC)),
        (StoredOriginal(3, etag=MD5S[1]), MD5S[:1], Verification(True, False, None, CRC)),
        (StoredOriginal(3, 1, True, etag_of(b"ab")), MD5S[:1], Verification(True, True, "etag", CRC)),
        (StoredOriginal(3, 1, True, MD5S[0]), MD5S[:1], Verification(True, False, None, CRC)),
        (StoredOriginal(3, 7, True, etag_of(b"ab", b"c")), MD5S, Verification(True, None, "size", CRC)),
        (StoredOriginal(3, etag=MD5S[1], crc64nvme=CRC), MD5S[:1], Verification(True, True, "crc64nvme", CRC)),
        (StoredOriginal(3, etag=MD5S[0], crc64nvme=OTHER), MD5S[:1], Verification(True, False, None, CRC)),
    ],
    ids=[
        "another size",
        "nothing stated",
        "the ETag of the parts",
        "another ETag of parts",
        "the MD5",
        "another MD5",
        "the ETag of a single part",
        "the MD5 as that of a single part",
        "parts that cannot be told",
        "the CRC64NVME beside a foreign ETag",
        "another CRC64NVME beside the right ETag",
    ],
)
def test_what_is_proved(stored: StoredOriginal, md5s: list[str], expected: Verification) -> None:
    found = compare_original(stored, 3, CRC, md5s)
    assert found == expected
    assert found.is_same is (found.proved_by is not None)
