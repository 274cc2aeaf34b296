"""gRPC's health check.

The rule: SERVING while this orchestrator leads; one that stands by is well, and serves nobody.
"""

from collections.abc import Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from orchestrator.front import Front

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Health(HealthServicer):  # type: ignore[misc]
    """Answers for the whole server, whose name is empty, and for each of its services."""

    def __init__(self, front: Front, services: Sequence[str]) -> None:
        super().__init__()
        self._front = front
        self._names = ("", *services)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: object) -> health_pb2.HealthCheckResponse:
        answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
        if answer.status == SERVING and not self._front.leads:  # its lease is over, and it was not told yet
            return health_pb2.HealthCheckResponse(status=NOT_SERVING)
        return answer

    async def tell(self, serving: bool) -> None:
        """Whoever watches hears of it."""
        for name in self._names:
            await self.set(name, SERVING if serving else NOT_SERVING)
