"""Ray, Dask, Celery and bare gRPC beside the fleet: what each of them does with the same small work, in one run.

The rule: a peer runs in an environment of its own, at the settings that suited it best, as a program that prints what
it measured.
"""
