"""gRPC between simulated processes: channels and servers as `grpc.aio` has them, over links that fail.

The rule: a stream keeps its order and loses nothing until it breaks; what is under way then may be lost, and each side
learns of it in its own time. Streams overtake one another. Messages travel as their serialized bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from tensorfleet.testing.simulated.callers import ClientEnd
from tensorfleet.testing.simulated.calls import Call, Handling
from tensorfleet.testing.simulated.processes import Process, Simulation

Heard = Callable[[Call, str, Any], None]
"""`heard(call, direction, message)`: is told each message as it is sent, `up` from the client or `down` to it."""


class Network:
    """Who can reach whom. Hosts are the processes' names, so that links outlive a process."""

    def __init__(
        self, simulation: Simulation, latency: Callable[[], float], *, keepalive: float = 5.0, patience: float = 1.0
    ) -> None:
        """latency: seconds of a way. keepalive: silence after which a stream is taken for broken. patience: how long
        a server that cannot be reached is tried."""
        self.simulation = simulation
        self.latency = latency
        self.keepalive = keepalive
        self.patience = patience
        self.servers: dict[str, Server] = {}
        self.calls: dict[Call, None] = {}
        self.heard: Heard = lambda call, direction, message: None
        self._parted: set[frozenset[str]] = set()
        simulation.on_exit.append(self._gone)
        simulation.on_stop.append(self._fell_silent)

    def server(self, process: Process, address: str, interceptors: Sequence[Any] = ()) -> "Server":
        """A server that takes calls at an address, from when it is started until it or its process ends."""
        return Server(self, process, address, interceptors)

    def channel(self, process: Process, address: str) -> "Channel":
        """A process's channel to an address."""
        return Channel(self, process, address)

    def is_parted(self, one: str, other: str) -> bool:
        return bool(self._parted) and frozenset((one, other)) in self._parted

    def part(self, one: str, other: str) -> None:
        """From now on nothing passes between two hosts, and neither is told."""
        self._parted.add(frozenset((one, other)))
        for call in self._between(one, other):
            self._watch(call)

    def join(self, one: str, other: str) -> None:
        """What was held back between two hosts passes."""
        self._parted.discard(frozenset((one, other)))
        for call in self._between(one, other):
            call.resume()

    def heal(self) -> None:
        for one, other in [sorted(pair) for pair in sorted(self._parted, key=sorted)]:
            self.join(one, other)

    def cut(self, one: str, other: str) -> None:
        """Breaks every stream there is between two hosts."""
        for call in self._between(one, other):
            call.reset("the connection was reset")

    # --- for calls

    def open(self, call: Call) -> None:
        self.calls[call] = None
        if self._is_silent(call):
            self._watch(call, self.patience)

    def over(self, call: Call) -> None:
        self.calls.pop(call, None)

    # --- within

    def _between(self, one: str, other: str) -> list[Call]:
        return [call for call in self.calls if {call.client.name, call.server.name} == {one, other}]

    def _gone(self, process: Process) -> None:
        for server in [server for server in self.servers.values() if server.process is process]:
            del self.servers[server.address]
        for call in [call for call in self.calls if process in (call.client, call.server)]:
            call.reset("the peer's process ended")

    def _fell_silent(self, process: Process) -> None:
        for call in self.calls:
            if process in (call.client, call.server):
                self._watch(call)

    def _is_silent(self, call: Call) -> bool:
        return call.client.stopped or call.server.stopped or self.is_parted(call.client.name, call.server.name)

    def _watch(self, call: Call, patience: float | None = None) -> None:
        """Breaks a call whose other side is not heard of for long."""
        if call.silent_since is None:
            call.silent_since = self.simulation.now
            self.simulation.after(patience or self.keepalive, self._look, call, call.silent_since)

    def _look(self, call: Call, since: float) -> None:
        if call.silent_since != since or call not in self.calls:
            return
        call.silent_since = None
        if self._is_silent(call):
            call.reset("keepalive: the peer does not answer")


class Server:
    """What `grpc.aio.server` gives, as far as servicers and generated code use it."""

    def __init__(self, network: Network, process: Process, address: str, interceptors: Sequence[Any]) -> None:
        self.network = network
        self.process = process
        self.address = address
        self._interceptors = interceptors
        self._handlers: dict[str, Any] = {}
        self._generic: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._generic.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    async def start(self) -> None:
        self.network.servers[self.address] = self

    async def stop(self, grace: float | None = None) -> None:
        if self.network.servers.get(self.address) is self:
            del self.network.servers[self.address]
        for call in [call for call in self.network.calls if call.server is self.process]:
            call.reset("the server was stopped")

    async def handler(self, path: str) -> Any:
        """The handler of a method, with the interceptors around it; None where there is none."""

        async def plain(details: Any) -> Any:
            found = (handlers.service(details) for handlers in self._generic)
            return self._handlers.get(path) or next((handler for handler in found if handler is not None), None)

        following: Any = plain
        for interceptor in reversed(self._interceptors):
            following = _around(interceptor, following)
        return await following(Handling(path))


def _around(interceptor: Any, following: Any) -> Any:
    async def intercepted(details: Any) -> Any:
        return await interceptor.intercept_service(following, details)

    return intercepted


class Channel(grpc.aio.Channel):
    """What `grpc.aio.insecure_channel` gives."""

    def __init__(self, network: Network, process: Process, address: str) -> None:
        self.network = network
        self.process = process
        self.address = address
        self._calls: dict[Call, None] = {}

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._method(method, False, False, *serializers, **options)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._method(method, False, True, *serializers, **options)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._method(method, True, False, *serializers, **options)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._method(method, True, True, *serializers, **options)

    def _method(
        self,
        path: str,
        many_up: bool,
        many_down: bool,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> Any:
        def call(request: Any = None, *, timeout: float | None = None, metadata: Any = (), **options: Any) -> ClientEnd:
            return ClientEnd(
                self, path, request, (many_up, many_down), request_serializer, response_deserializer, timeout, metadata
            )

        return call

    def server(self) -> "Server | None":
        return self.network.servers.get(self.address)

    def keep(self, call: Call) -> None:
        """Ends a call with the channel."""
        self._calls[call] = None
        call.ended = self._forget

    def _forget(self, call: Call) -> None:
        self._calls.pop(call, None)

    async def close(self, grace: float | None = None) -> None:
        for call in list(self._calls):
            call.cancel()

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY if self.server() else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        raise NotImplementedError

    async def channel_ready(self) -> None:
        raise NotImplementedError
