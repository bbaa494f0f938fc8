from pathlib import Path

import pytest

from codeword.data.listing import Item, Listing, classes_of

ITEMS = (
    Item(path=Path("a"), labels=("dog", "bark"), split="train"),
    Item(path=Path("b"), labels=("cat",), split="test"),
    Item(path=Path("c"), split="train"),
)
LISTING = Listing("audio", "by hand", ITEMS, ("bark", "cat", "dog", "owl"))


def test_splits_keep_all_classes():
    train = LISTING.only("train")
    assert [item.path.name for item in train.items] == ["a", "c"]
    assert train.classes == LISTING.classes
    assert train.targets() == [(2, 0), ()]
    assert train.counts() == {"bark": 1, "cat": 0, "dog": 1, "owl": 0}
    assert len(LISTING.only("train", "test")) == 3


def test_a_split_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="no item of split val: there are 'test', 'train'"):
        LISTING.only("val")


@pytest.mark.parametrize(
    ("labels", "order"),
    [(["b", "a10", "a9"], ("a10", "a9", "b")), (["10", "9", "2"], ("2", "9", "10")), ([], ())],
)
def test_classes_are_sorted_by_name_or_number(labels, order):
    assert classes_of([Item(path=Path(), labels=tuple(labels))]) == order
