"""What a task is told between two steps, by a page that a test writes."""

from collections.abc import Callable, Iterator
from pathlib import Path

from worker.control import Line, Reached
from worker.messages import FromSlot, Holding
from worker.words import PAGE, TOKEN, WISH, Wish


def reached(tmp_path: Path, wakes: Callable[[memoryview], Iterator[None]]) -> tuple[Reached, list[FromSlot]]:
    """The control of task 7. wakes: writes on the page, each time before the task is woken."""
    page, said = memoryview(bytearray(PAGE)).cast("Q"), list[FromSlot]()
    page[TOKEN] = 7
    script = wakes(page)
    next(script)

    def hear() -> bytes:
        next(script)
        return b""

    return Reached(Line(page, said.append, hear, print), 7, str(tmp_path)), said


def test_a_task_that_slept_through_a_resume_says_that_it_holds_its_place_once_more(tmp_path: Path) -> None:
    def wakes(page: memoryview) -> Iterator[None]:
        page[WISH] = Wish.HOLD
        yield
        page[WISH] = Wish.GO_ON
        page[WISH] = Wish.HOLD
        yield
        page[WISH] = Wish.GO_ON
        yield

    control, said = reached(tmp_path, wakes)
    assert not control.between_steps(lambda: b"")
    assert said == [Holding(), Holding()]
