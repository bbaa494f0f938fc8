import threading

import pytest

from codeword.pretraining.ahead import read_ahead


def endless(taken):
    number = 0
    while True:
        taken.append((number, threading.current_thread()))
        yield number
        number += 1


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_items_come_in_their_order_and_none_is_missing(count):
    assert list(read_ahead(iter(range(10)), count)) == list(range(10))
    assert list(read_ahead(iter(()), count)) == []
    assert list(read_ahead(iter([None, 0]), count)) == [None, 0]


def test_so_many_are_taken_before_they_are_asked_for_by_another_thread():
    taken, full = [], threading.Event()

    def watched():
        for number in endless(taken):
            if number == 3:
                full.set()
            yield number

    ahead = read_ahead(watched(), 3)
    assert next(ahead) == 0
    assert full.wait(10)  # 1, 2 and 3 while nobody asks
    assert {thread for _, thread in taken} != {threading.current_thread()}
    assert len({thread for _, thread in taken}) == 1
    ahead.close()
    assert not taken[0][1].is_alive()
    assert len(taken) == 4


def test_what_reading_raises_is_raised_where_the_item_is_asked_for():
    def broken():
        yield 1
        yield 2
        raise ValueError("file.wav is damaged")

    ahead = read_ahead(broken(), 5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match=r"file\.wav is damaged"):
        next(ahead)


def test_none_ahead_takes_each_when_it_is_asked_for():
    taken = []
    ahead = read_ahead(endless(taken), 0)
    assert [next(ahead), next(ahead)] == [0, 1]
    assert taken == [(0, threading.current_thread()), (1, threading.current_thread())]
