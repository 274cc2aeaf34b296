"""Frames and lines cut from bytes, however the bytes arrive."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tensorfleet.model import Cause, LogLine, Point, Ref
from worker.messages import (
    LONGEST_LINE,
    Failed,
    Framer,
    FromSlot,
    LineCutter,
    Lines,
    Points,
    Run,
    Succeeded,
    frame,
    from_slot,
    to_slot,
)

MESSAGES: list[FromSlot] = [
    Points((Point("loss", 1, 0.5),)),
    Lines((LogLine(1.5, "warning", "mind the gap"),)),
    Succeeded((("/tmp/0", Ref("ab", 3)),), {"rows": 1, "share": 1.0, "names": ["a"], "none": None}),
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


def test_a_run_keeps_integers_and_reals_apart() -> None:
    run = Run("a.b@1", {"max_features": 1, "share": 1.0}, ("/tmp/x",), 2, "/tmp/out")
    (payload,) = Framer().feed(frame(run))
    params = to_slot.decode(payload).params
    assert [type(value) for value in params.values()] == [int, float]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    whole, parts = LineCutter(), LineCutter()
    expected = whole.feed(data) + whole.rest()
    found = [line for piece in pieces(data, cuts) for line in parts.feed(piece)] + parts.rest()
    assert found == expected


def test_of_a_redrawn_line_the_last_drawing_counts() -> None:
    assert LineCutter().feed(b"10%\r50%\r100%\r\ndone\r\n\n") == ["100%", "done", ""]


def test_a_line_without_end_is_cut_and_kept_whole() -> None:
    cutter = LineCutter()
    found = cutter.feed(b"x" * (3 * LONGEST_LINE + 5)) + cutter.rest()
    assert [len(line) for line in found] == [LONGEST_LINE] * 3 + [5]


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    assert LineCutter().feed(b"caf\xc3\xa9 \xff\n") == ["caf\N{LATIN SMALL LETTER E WITH ACUTE} \\xff"]
