"""Two processes with half a batch each end where one process with the whole batch does."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import codeword
from codeword import (
    AdditiveQuantizer,
    Beam,
    DepthDropout,
    Directional,
    Gradient,
    KMeans,
    MovingAverage,
    NoiseSubstitution,
    ProductQuantizer,
    Projected,
    ReplaceUnused,
    ResidualQuantizer,
    ReviveDead,
    VectorQuantizer,
)
from contracts.ranks import RANKS, on_ranks

ROWS, DIM, STEPS = 40, 4, 5
TOLERANCE = 1e-5  # of codewords of size 1 after five steps
THROUGH_OUTPUT = Gradient(codebook=0.0, commitment=0.0)
OFTEN = ReviveDead(hits=0.5, threshold=0.3)


def levels(count, dim=DIM, size=12, **options):
    return [VectorQuantizer(dim, size, **{"revival": OFTEN, **options}) for _ in range(count)]


def averaged():
    """Quantizers that learn without a gradient."""
    fast = MovingAverage(decay=0.8)
    return {
        "vector": VectorQuantizer(DIM, 24, learning=fast, revival=OFTEN),
        "thinned": VectorQuantizer(1, 1, learning=fast, seeding=KMeans(steps=0)),
        "residual": ResidualQuantizer(levels(3, learning=fast), dropout=DepthDropout(0.5)),
        "beam": ResidualQuantizer(levels(2, learning=fast), search=Beam(3)),
        "additive": AdditiveQuantizer(levels(2, learning=fast)),
        "product": ProductQuantizer(levels(2, dim=2, learning=fast)),
        "published": VectorQuantizer(DIM, 24, learning=fast, revival=ReplaceUnused(period=2, threshold=0.6)),
    }


class Network(nn.Module):
    def __init__(self, quantizer):
        super().__init__()
        self.inside, self.quantizer, self.outside = nn.Linear(DIM, DIM), quantizer, nn.Linear(DIM, DIM)

    def forward(self, x, mask=None):
        out = self.quantizer(self.inside(x), mask)
        error = (self.outside(out.vectors) - x).square().mean(1)
        return error, out.loss


def networks():
    """Networks with quantizers that learn by gradient; built from one seed, alike on every rank."""
    torch.manual_seed(11)
    return {
        "straight": Network(ResidualQuantizer(levels(2, learning=Gradient()))),
        "noise": Network(ResidualQuantizer(levels(2, learning=THROUGH_OUTPUT), estimator=NoiseSubstitution())),
        "directional": Network(AdditiveQuantizer(levels(2, learning=THROUGH_OUTPUT), estimator=Directional())),
        "projected": Network(ResidualQuantizer([Projected(one, DIM) for one in levels(2, dim=2)])),
    }


def batch(step, dim=DIM, rows=RANKS * ROWS):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(step))


def share(rows, rank):
    return rows if rank is None else rows.chunk(RANKS)[rank]


def masked(step):
    """The first rank has nothing but padding, the second little of it."""
    mask = torch.arange(RANKS * ROWS) >= ROWS
    return mask & (batch(step + 50)[:, 0] > -1)


def run_averaged(quantizer, rank, *, managed, mask=False):
    quantizer.train()
    for step in range(STEPS):
        torch.manual_seed(step)
        # A single codeword looks at 256 rows: of more, those that one process would look at.
        x = batch(step, quantizer.dim, 700 if quantizer.dim == 1 else RANKS * ROWS)
        quantizer(share(x, rank), share(masked(step), rank) if mask and step else None)
        if managed:
            codeword.update(quantizer)
    return state(quantizer)


def run_accumulated(quantizer, rank):
    """Two forwards a step: with two ranks, four parts of one batch in the order (forward, rank)."""
    quantizer.train()
    codeword.seed(quantizer, share(batch(0), rank))
    codeword.update(quantizer)
    for step in range(STEPS):
        x = batch(step)
        for part in [x] if rank is None else x.chunk(2):
            quantizer(share(part, rank))
        codeword.update(quantizer)
    return state(quantizer)


def run_network(network, rank, mask=False):
    model = network if rank is None else DistributedDataParallel(network, broadcast_buffers=False)
    # Not Adam: where k-means left a gradient of zero it would step by the sign of the rounding.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(STEPS):
        torch.manual_seed(step)
        given = share(masked(step), rank) if mask and step else None
        error, loss = model(share(batch(step), rank), given)
        if given is not None:
            error = error[:0]  # the quantizer's loss alone: a global mean over what is not padding
        optimizer.zero_grad()
        (loss + (error.mean() if len(error) else error.sum())).backward()
        optimizer.step()
        codeword.update(network, optimizer)
        losses.append(loss.detach())
    return {**state(network), "losses": torch.stack(losses)}


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def run_all(rank, made):
    """Every scenario, on one rank or, with ``rank=None``, in one process."""
    quantizers, nets = made
    results = {}
    for name, quantizer in quantizers.items():
        results[f"{name}, managed"] = run_averaged(copy.deepcopy(quantizer), rank, managed=True)
        results[f"{name}, alone"] = run_averaged(copy.deepcopy(quantizer), rank, managed=False)
    results["vector, masked"] = run_averaged(copy.deepcopy(quantizers["vector"]), rank, managed=True, mask=True)
    results["residual, masked"] = run_averaged(copy.deepcopy(quantizers["residual"]), rank, managed=False, mask=True)
    results["vector, accumulated"] = run_accumulated(copy.deepcopy(quantizers["vector"]), rank)
    for name, network in nets.items():
        results[f"{name}, network"] = run_network(copy.deepcopy(network), rank)
    results["straight, masked"] = run_network(copy.deepcopy(nets["straight"]), rank, mask=True)
    return results


def made():
    """What is built before there is a process group."""
    return averaged(), networks()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return *on_ranks(run_all, tmp_path_factory.mktemp("ranks"), prepare=made), run_all(None, made())


LOCAL = ("losses",)  # what is a rank's own


def scenarios():
    names = [f"{name}, {way}" for name in averaged() for way in ("managed", "alone")]
    names += ["vector, masked", "residual, masked", "vector, accumulated", "straight, masked"]
    return names + [f"{name}, network" for name in networks()]


@pytest.mark.parametrize("scenario", scenarios())
def test_ranks_hold_the_same_bits(results, scenario):
    first, second, _ = results
    for name, value in first[scenario].items():
        # Statistics that are still pending belong to a rank until they are summed.
        if name not in LOCAL and "pending" not in name and "place" not in name:
            assert torch.equal(value, second[scenario][name]), name


@pytest.mark.parametrize("scenario", scenarios())
def test_two_ranks_are_one_with_the_whole_batch(results, scenario):
    first, _, whole = results
    for name, value in whole[scenario].items():
        if name not in LOCAL and "pending" not in name and "place" not in name:
            torch.testing.assert_close(first[scenario][name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=name)


def test_the_loss_is_the_global_mean_where_masks_differ(results):
    first, second, whole = (result["straight, masked"]["losses"] for result in results)
    torch.testing.assert_close((first + second)[1:] / 2, whole[1:], rtol=TOLERANCE, atol=0)
    assert (first[1:] == 0).all()  # nothing but padding
    assert (whole > 0).all()


def test_the_scenarios_revive(results):
    whole = results[2]
    moved = copy.deepcopy(averaged()["vector"]).train()
    count = 0
    for step in range(STEPS):
        moved(batch(step))
        codeword.update(moved)
        count += int(moved.codebook.moved.sum())
    assert count > 3
    assert torch.equal(moved.codebook.vectors, whole["vector, managed"]["codebook.table"])
