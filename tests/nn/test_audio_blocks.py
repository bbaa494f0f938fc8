import pytest
import torch

from codeword.nn.activations import Snake, written_out
from codeword.nn.conv import Conv1d, ConvTranspose1d, add_weight_norm, remove_weight_norm
from codeword.nn.importance import PAPER, RELEASED, ImportanceNet


def signal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def snake(channels):
    layer = Snake(channels)
    layer.alpha.data.uniform_(0.2, 3.0, generator=torch.Generator().manual_seed(1))
    return layer


@pytest.mark.parametrize("shape", [(1, 3, 5), (2, 64, 700), (1, 2, 70_000), (3, 1, 0)])
def test_snake_equals_the_written_out_expression(shape):
    layer = snake(shape[1])
    x = signal(*shape).requires_grad_()
    fast = layer(x)
    with written_out():
        slow = layer(x)
    torch.testing.assert_close(fast, slow, atol=2e-6, rtol=1e-5)
    upstream = signal(*shape, seed=3)
    mine = torch.autograd.grad((fast * upstream).sum(), (x, layer.alpha))
    wanted = torch.autograd.grad((slow * upstream).sum(), (x, layer.alpha))
    for one, other in zip(mine, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * max(1, shape[-1]) ** 0.5, rtol=1e-4)


def test_snake_by_finite_differences():
    layer, x = snake(3).double(), signal(2, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradcheck(
        lambda alpha: torch.func.functional_call(layer, {"alpha": alpha}, x), layer.alpha.detach().requires_grad_()
    )


@pytest.mark.parametrize("stride", [2, 5, 8])
@pytest.mark.parametrize("padding", ["centered", "causal", "cut"])
def test_strided_convolutions_keep_the_grid(stride, padding):
    down = Conv1d(1, 4, 2 * stride, stride=stride, padding=padding)
    up = ConvTranspose1d(4, 1, stride=stride, padding=padding)
    y = down(signal(1, 1, 40 * stride))
    assert y.shape == (1, 4, 40)
    lost = stride % 2 if padding == "cut" else 0
    assert up(y).shape == (1, 1, 40 * stride - lost)


@pytest.mark.parametrize(
    "layer", [Conv1d(1, 1, 7, dilation=3, padding="causal"), Conv1d(1, 1, 8, stride=4, padding="causal")]
)
def test_causal_convolutions_look_back_alone(layer):
    x = signal(1, 1, 80)
    changed = x.clone()
    changed[..., 40:] += 1.0
    steps = 40 // layer.stride[0]
    assert torch.equal(layer(x)[..., :steps], layer(changed)[..., :steps])
    assert not torch.equal(layer(x)[..., steps], layer(changed)[..., steps])


def test_weight_norm_comes_and_goes_without_a_trace():
    net = torch.nn.Sequential(Conv1d(2, 3, 7, padding="centered"), ConvTranspose1d(3, 1, stride=4, padding="centered"))
    x = signal(1, 2, 20)
    before, names = net(x), list(net.state_dict())
    add_weight_norm(net)
    torch.testing.assert_close(net(x), before)
    add_weight_norm(net)
    remove_weight_norm(net)
    torch.testing.assert_close(net(x), before)
    assert set(net.state_dict()) == set(names)


@pytest.mark.parametrize(("kernels", "convolutions"), [(PAPER, 5), (RELEASED, 6)])
def test_importance_starts_at_a_half(kernels, convolutions):
    torch.manual_seed(0)
    net = ImportanceNet(256, kernels)
    p = net(signal(2, 256, 30) * 0.1)
    assert p.shape == (2, 30)
    assert sum(isinstance(layer, Conv1d) for layer in net.layers) == convolutions
    assert ((p - 0.5).abs() < 0.05).all()


def test_importance_widths_are_the_papers():
    widths = [layer.out_channels for layer in ImportanceNet(1024).layers if isinstance(layer, Conv1d)]
    assert widths == [512, 128, 32, 8, 1]
