"""What the contracts of quantizers have in common: data, a training step, comparisons of state."""

import torch

import codeword

ROUNDING = 1e-5  # of sums of a few float32 numbers of size 1
ORDER = 1e-6  # of the same sums, added up in another order
ROWS = 60


def vectors(rows=ROWS, dim=6, seed=0, offset=0.0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) + offset


def objective(out, x):
    """A loss of the output that no quantizer solves exactly, plus the quantizer's own."""
    return out.loss + (out.vectors.float() - 0.9 * x.float()).square().sum() / max(x.shape[:-1].numel(), 1)


def train(quantizer, x, steps=3, mask=None):
    """A few optimizer steps, as a training loop takes them."""
    quantizer.train()
    codeword.seed(quantizer, x)
    parameters = list(quantizer.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-2) if parameters else None
    for _ in range(steps):
        loss = objective(quantizer(x, mask), x)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        codeword.update(quantizer, *([] if optimizer is None else [optimizer]))
    return quantizer


def state(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def assert_same_state(left, right, but=(), **tolerance):
    left, right = state(left), state(right)
    assert left.keys() == right.keys()
    for name in left:
        if not name.endswith(tuple(but)) or not but:
            torch.testing.assert_close(left[name], right[name], msg=name, **(tolerance or {"rtol": 0, "atol": 0}))


def assert_finite(quantizer):
    """Everything but the keys and errors of empty places, which are minus infinity."""
    for name, value in quantizer.state_dict().items():
        assert torch.isfinite(value).all() or ("place_" in name and not value.isnan().any()), name


def one_line(error):
    return error.type is ValueError and len(str(error.value).strip()) > 20 and "\n" not in str(error.value)
