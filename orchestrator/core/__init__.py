"""The deciding part of the orchestrator, without any I/O.

`decide(state, event, now) -> Decision` says what should happen, `apply(state, record, mono)` alone changes the state.
Nothing here imports asyncio, grpc, time, random, logging or the generated stubs; a test keeps it so.
"""
