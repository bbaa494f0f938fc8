"""A binary quantizer behind a linear layer, trained by one process or by several; run by ``torch.multiprocessing``."""

from pathlib import Path

import torch
import torch.distributed as dist
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


def worker(rank: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    batches, cases = torch.load(Path(folder) / "data.pt", weights_only=True)
    own = batches.chunk(ranks, dim=1)[rank]
    results = []
    for masks in cases:
        net = DistributedDataParallel(Net(), broadcast_buffers=False)
        results.append(train(net, own, None if masks is None else masks.chunk(ranks, dim=1)[rank]))
    torch.save(results, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
