import torch
import torch.nn.functional as F

from codeword.pretraining.masking import RandomMask
from codeword.pretraining.predictor import Predictor
from contracts.pretraining import CONFIG, DECODER, SIZES, samples


def parts(count=5):
    torch.manual_seed(0)
    predictor = Predictor(CONFIG, DECODER, SIZES)
    x = samples(count).inputs(range(count), [0] * count).values
    codes = torch.stack([torch.randint(0, size, (count, 6)) for size in SIZES], -1)
    return predictor, x, codes, RandomMask(0.5).draw((3, 2), count, torch.tensor(1))


def test_the_loss_is_that_of_a_loop_over_masked_patches_and_levels():
    predictor, x, codes, masking = parts()
    valid = torch.ones(5, 6, dtype=torch.bool)
    valid[0, 4:] = False
    codes[0, 4:] = -1
    found = predictor(x, codes, masking, valid)
    logits = predictor.logits(x, masking, valid)
    per_level, right = [], []
    for level, scores in enumerate(logits):
        losses, hits = [], []
        for row in range(5):
            for place, patch in enumerate(masking.masked[row].tolist()):
                target = codes[row, patch, level]
                if target >= 0:
                    losses.append(-F.log_softmax(scores[row, place], -1)[target])
                    hits.append(float(scores[row, place].argmax() == target))
        per_level.append(torch.stack(losses).mean())
        right.append(sum(hits) / len(hits))
    torch.testing.assert_close(found.loss, torch.stack(per_level).mean())
    torch.testing.assert_close(found.accuracy, torch.tensor(right))


def test_codes_of_visible_patches_and_values_of_masked_ones_play_no_part():
    predictor, x, codes, masking = parts()
    found = predictor(x, codes, masking).loss
    codes.scatter_(1, masking.visible.unsqueeze(-1).expand(-1, -1, 2), 0)
    hidden = torch.zeros(5, 6, dtype=torch.bool).scatter(1, masking.masked, True).view(5, 1, 3, 1, 2, 1)
    blocks = x.view(5, 1, 3, 4, 2, 4)
    torch.testing.assert_close(predictor(torch.where(hidden, 9.0, blocks).view_as(x), codes, masking).loss, found)
