"""Where workers reach one another: the address that a member of a gang says, as the others can use it.

The rule: a worker that says where it is, is believed; one that names its own loopback, and is on another machine than
the orchestrator, is where its stream comes from.
"""

import ipaddress
from urllib.parse import unquote


def reached(address: str, peer: str) -> str:
    """An address that a worker said, `HOST:PORT`, as others reach it. peer: its end of the stream, as gRPC has it:
    `ipv4:10.0.0.7:4242`, `ipv6:%5B::1%5D:4242`."""
    host, _, port = address.rpartition(":")
    kind, _, place = peer.partition(":")
    if kind not in ("ipv4", "ipv6") or not _is_loopback(host):
        return address
    seen = unquote(place).rpartition(":")[0].strip("[]")
    if _is_loopback(seen):
        return address  # they are on one machine
    return f"[{seen}]:{port}" if kind == "ipv6" else f"{seen}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in ("", "localhost")
