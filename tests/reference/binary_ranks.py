"""A binary quantizer behind a linear layer, trained by one process or by several."""

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from codeword.quantizers.binary import BinaryQuantizer, EntropyLoss, Sphere
from codeword.types import Quantized


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(5, 7)
        entropy = EntropyLoss(weight=0.3, diversity=2.0, sharpness=3.0)
        self.quantizer = BinaryQuantizer(7, corners=Sphere(), entropy=entropy)
        self.double()

    def forward(self, x: Tensor, mask: Tensor | None) -> Quantized:
        return self.quantizer(self.linear(x), mask)


def train(net: nn.Module, batches: Tensor, masks: Tensor | None) -> tuple[list[float], list[Tensor]]:
    """Losses of steps of gradient descent, one a batch, and the parameters at their end."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for number, x in enumerate(batches):
        loss = net(x, None if masks is None else masks[number]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [parameter.detach().clone() for parameter in net.parameters()]


def data() -> tuple[Tensor, list[Tensor | None]]:
    """Batches, and the masks of three cases: none, ragged ones, and nothing but padding on the second rank."""
    generator = torch.Generator().manual_seed(0)
    batches = torch.randn(5, 24, 5, dtype=torch.float64, generator=generator)
    ragged, lonely = torch.rand(5, 24, generator=generator) < 0.6, torch.ones(5, 24, dtype=torch.bool)
    lonely[:, 12:] = False
    return batches, [None, ragged, lonely]


def share(rank: int) -> list[tuple[list[float], list[Tensor]]]:
    """What one of two ranks finds in every case."""
    batches, cases = data()
    own = batches.chunk(2, dim=1)[rank]
    halves = [None if masks is None else masks.chunk(2, dim=1)[rank] for masks in cases]
    return [train(DistributedDataParallel(Net(), broadcast_buffers=False), own, half) for half in halves]
