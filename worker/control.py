"""How an agent reaches into a task that runs in a slot: by a page of memory that both have, and by the slot's socket.

The rule: the page says what is wanted of which attempt, as a level and not as an event, so nothing that is said can be
lost or come twice; a byte over the socket only wakes a task that waits. So a look between two steps costs no more than
a look at the page.
"""

from collections.abc import Callable
from pathlib import Path

from tensorfleet.execution import written
from tensorfleet.model import Ref
from tensorfleet.operators import Output, Roster
from worker.messages import Framer, FromSlot, Holding, Members, Ready, Saved, to_task
from worker.words import SAVES, TOKEN, WISH, Wish


class Parted(BaseException):
    """The task has given up its place. saved: the file with what it saved; none where it could not be written."""

    def __init__(self, saved: tuple[str, Ref] | None) -> None:
        super().__init__()
        self.saved = saved


class Line:
    """A slot's end of what its tasks and the agent have between them. say: tells the agent. hear: waits for bytes of
    the agent's, and raises where there will be none. warn: logs."""

    def __init__(
        self,
        page: memoryview,
        say: Callable[[FromSlot], None],
        hear: Callable[[], bytes],
        warn: Callable[[str], None],
    ) -> None:
        self.page, self.say, self.warn = page, say, warn
        self._hear = hear
        self._framer = Framer()

    def wait(self) -> list[Members]:
        """Waits until something changed, or may have."""
        return [to_task.decode(payload) for payload in self._framer.feed(self._hear()) if payload]


class Reached:
    """The control of one task; see `tensorfleet.operators.Control`. folder: where it may save."""

    def __init__(self, line: Line, token: int, folder: str) -> None:
        self._line, self._page, self._token, self._folder = line, line.page, token, folder
        self._saves = 0
        self._files = 0

    def between_steps(self, save: Callable[[], Output]) -> bool:
        page = self._page
        if page[TOKEN] == self._token and (page[WISH] or page[SAVES] != self._saves):
            return self._obey(save)
        return False

    def keep(self, saved: Output) -> None:
        if (kept := self._save(lambda: saved)) is not None:
            self._line.say(Saved(*kept))

    def meet(self, address: str) -> Roster:
        self._line.say(Ready(address))
        while True:
            for members in self._line.wait():
                return Roster(members.place, members.addresses)

    def _obey(self, save: Callable[[], Output]) -> bool:
        page = self._page
        while page[TOKEN] == self._token:
            if page[SAVES] != self._saves:
                self._saves = page[SAVES]
                if (saved := self._save(save)) is not None:
                    self._line.say(Saved(*saved))
            elif page[WISH] == Wish.PART:
                raise Parted(self._save(save))
            elif page[WISH] == Wish.HOLD:
                # Each time: before it woke it may have been told to go on and to pause once more, as its agent knows.
                self._line.say(Holding())
                self._line.wait()
            else:
                return page[WISH] == Wish.END
        return False

    def _save(self, save: Callable[[], Output]) -> tuple[str, Ref] | None:
        """A full disk costs what would have been saved, and not the task."""
        output = save()
        folder = Path(self._folder)
        path = folder / f"saved-{self._files}"
        self._files += 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return str(path), written(output, path)
        except OSError as error:
            path.unlink(missing_ok=True)
            self._line.warn(f"a checkpoint could not be written: {error}")
            return None
