import itertools

import pytest
import torch

from codeword.data.image_crops import ImageCrops


def pictures(count=6, sides=(9, 12)):
    """Of which every pixel tells its picture, row and column."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in sides), indexing="ij")
    return [torch.stack([torch.full(sides, number), rows, columns]).byte() for number in range(count)]


def first(crops, count, start=0, rank=0, world_size=1):
    return list(itertools.islice(crops.batches(start, rank, world_size), count))


def test_every_epoch_has_a_crop_of_every_picture_at_another_place():
    crops = ImageCrops(pictures(), (4, 5), 3, mirrored=False)
    epochs = torch.cat(first(crops, 4)).split(6)
    for epoch in epochs:
        assert sorted(epoch[:, 0, 0, 0].tolist()) == list(range(6))
        steps = epoch[:, 1:].long() - epoch[:, 1:, :1, :1].long()
        assert (steps[:, 0] == torch.arange(4)[:, None]).all() and (steps[:, 1] == torch.arange(5)).all()
    places = [{(int(c[0, 0, 0]), int(c[1, 0, 0]), int(c[2, 0, 0])) for c in epoch} for epoch in epochs]
    assert places[0] != places[1]


def test_all_places_occur_and_half_are_mirrored():
    crops = ImageCrops(pictures(1, (4, 6)), (3, 4), 400)
    (batch,) = first(crops, 1)
    mirrored = batch[:, 2, 0, 0] > batch[:, 2, 0, -1]
    assert 150 < int(mirrored.sum()) < 250
    assert set(batch[:, 1, 0, 0].tolist()) == {0, 1}
    assert set(batch[:, 2].amin((1, 2)).tolist()) == {0, 1, 2}


def test_batches_depend_on_their_number_alone_and_ranks_share_them():
    crops = ImageCrops(pictures(), (4, 4), 4, seed=3)
    whole = first(crops, 5)
    assert torch.equal(first(crops, 1, start=3)[0], whole[3])
    halves = [first(crops, 5, rank=rank, world_size=2) for rank in range(2)]
    for number in range(5):
        assert torch.equal(torch.cat([half[number] for half in halves]), whole[number])
    assert not torch.equal(first(ImageCrops(pictures(), (4, 4), 4, seed=4), 1)[0], whole[0])


def test_pictures_of_one_size_are_taken_whole():
    whole = torch.stack(pictures())
    found = torch.cat(first(ImageCrops(whole, None, 3, mirrored=False), 2))
    assert torch.equal(found[found[:, 0, 0, 0].argsort()], whole)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ImageCrops([], None, 3), "got 0 and 3"),
        (
            lambda: first(ImageCrops(pictures(), (10, 4), 3), 1),
            r"picture \d has 9 x 12 pixels, crops of 10 x 4 do not fit",
        ),
        (lambda: first(ImageCrops(pictures(), (4, 4), 3), 1, world_size=2), "3 crops is no multiple of 2 ranks"),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
