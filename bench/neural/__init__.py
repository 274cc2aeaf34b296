"""Networks beside plain Keras: the same training in one process, on a fleet in each of its ways, and by Keras's own
strategy for several processes.

The rule: all train the same network on as many rows with as many threads in all, and take turns.
"""
