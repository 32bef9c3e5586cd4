"""Check the hosts of URLs that come from outside."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, ip_address

LONGEST_NAME = 253
"""Characters. RFC 1035 allows 255 bytes on the wire, of which the first and the last are length bytes."""


def is_host(host: str | None) -> bool:
    """Return whether a host can be resolved as it is; international names must be IDNA-encoded first.

    aiohttp and yarl accept any text. `getaddrinfo` then raises a bare UnicodeError for a name that IDNA refuses, such
    as one with an empty label or a label of more than 63 characters; and aiohttp refuses digits and dots that are not
    an IPv4 address.
    """
    if not host or not host.isascii() or not host.isprintable() or len(host) > LONGEST_NAME:
        return False
    if ":" in host:
        return True  # an IPv6 address, perhaps with a zone; an invalid one fails to connect
    if host.replace(".", "").isdigit():
        try:
            IPv4Address(host)
        except AddressValueError:
            return False
        return True
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return " " not in host


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, so that requests to it do not use a network."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
