"""What slots print: cut into lines however the bytes arrive, and shared out among their tasks."""

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.prints import BUSY, LONGEST_LINE, LineCutter, Prints, printed


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


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


class Pipe:
    """A slot's stream from both sides. printed: as the slot counts it."""

    def __init__(self) -> None:
        near, self._far = os.pipe()
        os.set_blocking(near, False)
        self.page = memoryview(bytearray(16)).cast("Q")
        self.prints = Prints("stdout", near, self.page, 1)

    def write(self, data: bytes) -> None:
        os.write(self._far, data)

    def printed(self) -> int:
        return printed(self.page, 1, self._far)

    def close(self) -> None:
        os.close(self._far)
        os.close(self.prints.descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_what_is_in_the_pipe_and_what_was_read_is_counted_alike(pipe: Pipe) -> None:
    assert pipe.printed() == 0
    pipe.write(b"one\n")
    assert pipe.printed() == 4
    assert pipe.prints.read() == 4
    assert pipe.prints.read() is None
    assert pipe.printed() == 4
    pipe.write(b"two")
    assert pipe.printed() == 7


def test_a_task_has_what_was_printed_up_to_its_end_whatever_was_read_by_then(pipe: Pipe) -> None:
    pipe.write(b"first\nno line end")
    first = pipe.printed()
    pipe.write(b"second\n")
    pipe.prints.read()
    second = pipe.printed()
    pipe.write(b"third\n")
    assert pipe.prints.up_to(first) == ["first", "no line end"]
    assert pipe.prints.up_to(second) == ["second"]
    assert pipe.prints.up_to(second) == []
    pipe.prints.read()
    assert pipe.prints.so_far() == ["third"]


def test_lines_of_a_task_that_runs_are_passed_on_when_they_are_whole(pipe: Pipe) -> None:
    pipe.write(b"whole\nhalf")
    pipe.prints.read()
    assert pipe.prints.so_far() == ["whole"]
    pipe.write(b" a line\nlast")
    end = pipe.printed()
    assert pipe.prints.up_to(end) == ["half a line", "last"]


def test_the_rest_is_all_that_is_left(pipe: Pipe) -> None:
    pipe.write(b"one\n")
    pipe.prints.read()
    pipe.write(b"two\nlast")
    assert pipe.prints.rest() == ["one", "two", "last"]


def test_a_count_waits_while_the_other_side_reads(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe.write(b"text")
    pipe.page[1] |= BUSY
    waited: list[float] = []

    def read_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        pipe.page[1] &= ~BUSY
        pipe.prints.read()

    monkeypatch.setattr("worker.prints.time.sleep", read_meanwhile)
    assert pipe.printed() == 4
    assert len(waited) == 1


@given(st.lists(st.tuples(st.binary(max_size=50), st.integers(0, 3)), max_size=12))
def test_no_byte_is_lost_nor_given_to_another_task(tasks: list[tuple[bytes, int]]) -> None:
    pipe = Pipe()
    ends = []
    for data, reads in tasks:
        pipe.write(data)
        for _ in range(reads):
            pipe.prints.read()
        ends.append(pipe.printed())
    for (data, _), end in zip(tasks, ends, strict=True):
        alone = LineCutter()
        assert pipe.prints.up_to(end) == alone.feed(data) + alone.rest()
    assert pipe.prints.rest() == []
    pipe.close()


def test_no_more_is_read_for_a_task_that_ended_than_it_printed(pipe: Pipe) -> None:
    pipe.write(b"first\n")
    end = pipe.printed()
    pipe.write(b"second\n")
    assert pipe.prints.up_to(end) == ["first"]
    assert pipe.prints.so_far() == [], "whose it is was not known when it could have been read"
    pipe.prints.read()
    assert pipe.prints.so_far() == ["second"]
