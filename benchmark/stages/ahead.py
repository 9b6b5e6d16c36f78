"""The next slices are read and made ready while the current one runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1


class _End:
    """After the last item; carries what ended the iteration early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int) -> Generator[T]:
    """Iterates in a thread of its own, at most `depth` items ahead of whoever asks for them.

    Order is kept. An error in the thread is raised here, in its turn. Leaving early (`close`, an error, Ctrl-C) stops
    the thread before its next item.

    Args:
        items: iterated in the thread.
        depth: how many finished items may wait, at least 1; the thread holds one more.

    Raises:
        ValueError: at the first item, if `depth` is below 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be 1 or more, not {depth}")  # 0 would mean a queue without bound
    waiting: Queue[T | _End] = Queue(maxsize=depth)
    left = Event()
    thread = Thread(target=_fill, args=(items, waiting, left), name="sambench-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = _get(waiting)
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item  # or it would live on while the next one is waited for
    finally:
        left.set()
        thread.join()


def _get(waiting: Queue[T | _End]) -> T | _End:
    while True:
        try:
            return waiting.get(timeout=_POLL_S)  # a wait without end would not see Ctrl-C on every system
        except Empty:
            continue


def _fill(items: Iterable[T], waiting: Queue[T | _End], left: Event) -> None:
    end = _End()
    try:
        # Closed here, where it ran: what it holds, such as a volume, is gone before `ahead` returns.
        with closing(items) if isinstance(items, Generator) else nullcontext():
            for item in items:
                if not _put(waiting, item, left):
                    return
                del item
    except BaseException as error:
        end = _End(error)
    _put(waiting, end, left)


def _put(waiting: Queue[T | _End], item: T | _End, left: Event) -> bool:
    """Whether the item was taken before the other side left."""
    while not left.is_set():
        try:
            waiting.put(item, timeout=_POLL_S)
            return True
        except Full:
            continue
    return False
