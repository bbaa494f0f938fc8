import pytest
import torch

from codeword.pretraining.weighted import WeightedOrder, class_weights

LABELS = torch.tensor([0] * 90 + [1] * 9 + [2])


def drawn(order, batches, ranks=1):
    return [
        sample
        for number in range(batches)
        for rank in range(ranks)
        for sample in order.drawn(number, rank, ranks).samples
    ]


def test_every_class_weighs_alike():
    weights = class_weights(LABELS)
    for number in range(3):
        assert float(weights[number == LABELS].sum()) == pytest.approx(1.0)


def test_several_classes_add_up_and_none_is_a_class_of_its_own():
    truth = torch.tensor([[1.0, 0], [1, 1], [0, 0], [0, 0]])
    assert class_weights(truth).tolist() == pytest.approx([0.5, 1.5, 0.5, 0.5])


def test_with_replacement_classes_come_alike_often():
    order = WeightedOrder(class_weights(LABELS), 4, 10, 0, replacement=True)
    counts = torch.bincount(LABELS[drawn(order, 300)], minlength=3) / 3000
    assert torch.allclose(counts, torch.full((3,), 1 / 3), atol=0.05)


def test_without_replacement_no_sample_comes_twice_in_an_epoch_and_rare_ones_come_in_most():
    order = WeightedOrder(class_weights(LABELS), 4, 10, 0, epoch=20)
    rare = 0
    for epoch in range(50):
        samples = [sample for number in (0, 1) for sample in order.drawn(2 * epoch + number).samples]
        assert len(set(samples)) == 20
        rare += 99 in samples
    assert rare >= 45


@pytest.mark.parametrize("replacement", [False, True])
def test_a_batch_depends_on_its_number_alone_and_ranks_share_it(replacement):
    def made():
        return WeightedOrder(class_weights(LABELS), 3, 8, 5, replacement=replacement, epoch=30)

    forward, order = made(), made()
    whole = [forward.drawn(number) for number in range(12)]
    for number in (11, 3, 0, 7):
        assert order.drawn(number) == whole[number]
        parts = [order.drawn(number, rank, 2) for rank in range(2)]
        assert parts[0].samples + parts[1].samples == whole[number].samples
        assert parts[0].views + parts[1].views == whole[number].views
        assert [part.first_row for part in parts] == [0, 4]
    assert len({tuple(part.samples) for part in whole}) == 12
    assert {view for part in whole for view in part.views} == {0, 1, 2}


def test_what_cannot_be_drawn_is_refused():
    weights = torch.tensor([1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="replacement"):
        WeightedOrder(weights, 1, 2, 0)
    with pytest.raises(ValueError, match="ranks"):
        WeightedOrder(weights, 1, 2, 0, epoch=2).drawn(0, 0, 3)
    assert 1 not in drawn(WeightedOrder(weights, 1, 2, 0, replacement=True), 20)
