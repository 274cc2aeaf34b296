"""Who owns a home: the orchestrator's seat, as its file tells.

The rule: the file only says where to look; that somebody serves there is asked of them.
"""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct


class Seat(Struct, frozen=True):
    """Who owns a home, as `orchestrator.json` in it tells."""

    address: str
    pid: int
    term: int = 0


def read_seat(home: Path) -> Seat | None:
    """Who owns a home, as far as its file tells; the process may be gone."""
    try:
        return msgspec.json.decode((home / "orchestrator.json").read_bytes(), type=Seat)
    except (OSError, msgspec.DecodeError):
        return None


def reserved(listen: str) -> str:
    """An address with a port that is free now; another program may take it before ours does."""
    host, _, port = listen.rpartition(":")
    if port != "0":
        return listen
    with socket.create_server((host.strip("[]"), 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as it:
        return f"{host}:{it.getsockname()[1]}"


def reachable(address: str) -> str:
    """Where to reach on this machine what listens at an address."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "") else address


async def serves(address: str) -> bool:
    """Whether an orchestrator answers there and leads, by gRPC's health check."""
    return await _health(address) == b"\x08\x01"  # HealthCheckResponse(status=SERVING)


async def answers(addresses: Sequence[str]) -> bool:
    """Whether an orchestrator answers at any of the addresses, be it one that stands by."""
    return any(await asyncio.gather(*map(_health, addresses)))


async def _health(address: str) -> bytes:
    """What the health check answers; nothing where nobody does."""
    import grpc

    from tensorfleet.rpc.channels import open_channel

    channel = open_channel(address)
    try:
        answer: bytes = await channel.unary_unary("/grpc.health.v1.Health/Check", _same, _same)(b"", timeout=3.0)
    except grpc.RpcError:
        return b""
    finally:
        await channel.close(None)
    return answer


def _same(content: bytes) -> bytes:
    return content  # HealthCheckRequest(service="") is no bytes at all: no stubs are needed
