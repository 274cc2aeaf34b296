"""Channels, servers, status mapping: what client and server programs share of gRPC."""
