"""Reading before it is asked for, so that files are read while a network computes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items in the same order, up to ``count`` of them taken in another thread before they are asked for.

    What taking an item raises is raised where it is asked for, in the thread that asks.

    Args:
        items: Taken one at a time, by one thread.
        count: 0 takes every item when it is asked for, in the thread that asks.
    """
    if not count:
        yield from items
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(_asked(pool, items) for _ in range(count))
        while (taken := waiting.popleft().result()) is not None:
            waiting.append(_asked(pool, items))
            yield taken[0]
    finally:
        pool.shutdown(cancel_futures=True)


def _asked(pool: ThreadPoolExecutor, items: Iterator[T]) -> "Future[tuple[T] | None]":
    return pool.submit(lambda: next(((item,) for item in items), None))
