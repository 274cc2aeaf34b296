"""Channels and their options: one way to reach an orchestrator, and one to reach whichever leads."""

from collections.abc import Callable
from typing import Any

import grpc

from tensorfleet.rpc.addresses import Addresses

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The largest message either side takes. Bytes without a bound are streamed in chunks of `CHUNK_BYTES`."""

CHUNK_BYTES = 1024 * 1024

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # No ping with each message that comes after a lull, to find how much a connection takes: most messages here are
    # small and come after a lull. Instead each stream may have a chunk on its way.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", CHUNK_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    # After a server's restart its clients come back in milliseconds, not in gRPC's default of a second and more.
    ("grpc.initial_reconnect_backoff_ms", 50),
    # A connection may take so long to be made: under thousands that come at once, none would be in less.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def keepalive(after: float, timeout: float) -> tuple[tuple[str, int], ...]:
    """Options by which a peer that vanished or hangs is noticed: asked after so many quiet seconds, it has so many to
    answer. gRPC answers by itself, so one that is only busy is not taken for gone."""
    return (
        ("grpc.keepalive_time_ms", round(after * 1000)),
        ("grpc.keepalive_timeout_ms", round(timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", round(timeout * 1000)),
    )


PATIENT = keepalive(20.0, 10.0)
WATCHFUL = keepalive(2.5, 3.0)


def open_channel(address: str, *, watchful: bool = False) -> grpc.aio.Channel:
    """A channel to `host:port`. watchful: a server that hangs is noticed within seconds, since there is another."""
    # Each program has its own connection: a shared one would share its reconnect backoff too.
    own = ("grpc.use_local_subchannel_pool", 1)
    return grpc.aio.insecure_channel(address, options=(*OPTIONS, *(WATCHFUL if watchful else PATIENT), own))


class LeaderChannel:
    """Has a channel's shape, for stubs; each call goes to the address that is the current one when it is made."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._channels: dict[str, grpc.aio.Channel] = {}

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return lambda *call, **options: self._current().unary_unary(*args, **kwargs)(*call, **options)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return lambda *call, **options: self._current().unary_stream(*args, **kwargs)(*call, **options)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return lambda *call, **options: self._current().stream_unary(*args, **kwargs)(*call, **options)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return lambda *call, **options: self._current().stream_stream(*args, **kwargs)(*call, **options)

    def _current(self) -> grpc.aio.Channel:
        address = self._addresses.current
        if address not in self._channels:  # made here, where the event loop runs
            self._channels[address] = open_channel(address, watchful=len(self._addresses) > 1)
        return self._channels[address]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)
