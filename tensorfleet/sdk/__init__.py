"""The client, in parts: calls with retries, values and events, one module a noun, and the bridge to blocking code.

Import from `tensorfleet.client`; what is in here may move.
"""
