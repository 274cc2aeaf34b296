"""A cluster's surroundings in one thread, under one seed: processes, clocks, network, stores.

The rule: nothing in here reads a real clock or real chance, opens a socket or starts a thread. What is plugged in
sees asyncio, gRPC's objects and the stores' contracts, as it does outside.
"""
