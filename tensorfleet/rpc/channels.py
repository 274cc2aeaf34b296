"""Channels and their options: one way to reach an orchestrator."""

import grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The largest message either side takes. Bytes without a bound are streamed in chunks of `CHUNK_BYTES`."""

CHUNK_BYTES = 1024 * 1024

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished without a word is noticed within about half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    # After a server's restart its clients come back in milliseconds, not in gRPC's default of a second and more.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port`. Several addresses joined by commas are tried in turn."""
    target = address if "," not in address else f"ipv4:{address}"
    # Each program has its own connection: a shared one would share its reconnect backoff too.
    return grpc.aio.insecure_channel(target, options=(*OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
