"""Where members of a gang reach one another, by what they say and where their streams come from."""

import pytest

from orchestrator.reaching import reached


@pytest.mark.parametrize(
    ("said", "peer", "wanted"),
    [
        ("127.0.0.1:81", "ipv4:127.0.0.1:4242", "127.0.0.1:81"),
        ("127.0.0.1:81", "ipv6:%5B::1%5D:4242", "127.0.0.1:81"),
        ("127.0.0.1:81", "ipv4:10.0.0.7:4242", "10.0.0.7:81"),
        ("localhost:81", "ipv6:%5Bfd00::7%5D:4242", "[fd00::7]:81"),
        ("node-7.example:81", "ipv4:10.0.0.7:4242", "node-7.example:81"),
        ("127.0.0.1:81", "unix:/tmp/socket", "127.0.0.1:81"),
    ],
)
def test_who_is_elsewhere_is_where_its_stream_comes_from(said: str, peer: str, wanted: str) -> None:
    assert reached(said, peer) == wanted
