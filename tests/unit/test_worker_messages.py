"""Messages between an agent and its slots, however their bytes arrive."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tensorfleet.model import Cause, LogLine, Points, Ref
from worker.messages import (
    TOKEN_BYTES,
    Failed,
    Framer,
    FromSlot,
    Lines,
    Measured,
    Run,
    Stored,
    Succeeded,
    encode,
    frame,
    from_slot,
    packet,
    to_slot,
)

MESSAGES: list[FromSlot] = [
    Measured(Points(("loss",), (), (1,), (0.5,))),
    Lines((LogLine(1.5, "warning", "mind the gap"),)),
    Succeeded(0.5, (3, 4), (("/tmp/0", Ref("ab", 3)),), {"rows": 1, "share": 1.0, "names": ["a"], "none": None}),
    Succeeded(0.5),
    Failed(Cause.BAD_INPUT, "CSV_MALFORMED", "line 3"),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(cuts: list[int]) -> None:
    framer = Framer()
    data = b"".join(frame(message) for message in MESSAGES)
    found = [from_slot.decode(payload) for piece in pieces(data, cuts) for payload in framer.feed(piece)]
    assert found == MESSAGES


def test_an_orders_packet_has_its_token_and_what_to_run() -> None:
    run = Run("a.b@1", {"max_features": 1, "share": 1.0}, ("/tmp/x",), 2, "/tmp/out")
    found = packet((1 << 53) + 1, encode(run))
    assert int.from_bytes(found[:TOKEN_BYTES], "big") == (1 << 53) + 1
    decoded = to_slot.decode(found[TOKEN_BYTES:])
    assert decoded == run
    assert isinstance(decoded, Run)
    assert [type(value) for value in decoded.params.values()] == [int, float]
    assert to_slot.decode(encode(Stored("/tmp/1.order"))) == Stored("/tmp/1.order")
