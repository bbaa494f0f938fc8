"""Compilers and exporters. Run without the shape hook: ``pytest -o addopts= -m compile``."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import codeword
from codeword import (
    AdditiveQuantizer,
    Beam,
    ChannelsFirst,
    Cosine,
    DepthDropout,
    Directional,
    Gradient,
    MovingAverage,
    NoiseSubstitution,
    Normalized,
    ProductQuantizer,
    Projected,
    Refined,
    ResidualQuantizer,
    ReviveDead,
    Rotated,
    Rotation,
    SetBeam,
    SimVQ,
    VectorQuantizer,
)
from contracts.ranks import on_ranks
from contracts.steps import assert_same_state, objective, state, vectors

# PyTorch warns about its own parts.
pytestmark = [
    pytest.mark.compile,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

DIM, ROWS = 6, 64
ROUNDING = 1e-5
THROUGH_OUTPUT = Gradient(codebook=0.0, commitment=0.0)
OFTEN = ReviveDead(hits=0.5, threshold=0.3)


def levels(count, dim=DIM, **options):
    return [VectorQuantizer(dim, 11, **{"revival": OFTEN, **options}) for _ in range(count)]


QUANTIZERS = {
    "vector": lambda: VectorQuantizer(DIM, 40, learning=MovingAverage(0.8), revival=OFTEN),
    "noise": lambda: ResidualQuantizer(
        levels(2, learning=THROUGH_OUTPUT), dropout=DepthDropout(), estimator=NoiseSubstitution()
    ),
    "cosine": lambda: ProductQuantizer([*levels(1, dim=2, geometry=Cosine()), *levels(1, dim=4)], estimator=Rotation()),
    "frozen": lambda: VectorQuantizer(DIM, 11, learning=SimVQ(), estimator=Directional()),
    "beam": lambda: ResidualQuantizer(levels(2), search=Beam(3)),
    "additive": lambda: AdditiveQuantizer(levels(2, learning=Gradient()), search=Refined(Beam(3), sweeps=2)),
    "sets": lambda: AdditiveQuantizer(levels(2), search=SetBeam(4)),
    "wrapped": lambda: ResidualQuantizer([Projected(levels(1, dim=3)[0], DIM), Rotated(Normalized(levels(1)[0]))]),
}


def pair(name):
    torch.manual_seed(0)
    torch.compiler.reset()
    quantizer = QUANTIZERS[name]().train()
    return quantizer, copy.deepcopy(quantizer)


def step(call, quantizer, number):
    x = vectors(ROWS, DIM, seed=number).requires_grad_()
    torch.manual_seed(number)
    out = call(x)
    objective(out, x).backward()
    gradients = [p.grad.clone() for p in quantizer.parameters()]
    quantizer.zero_grad()
    codeword.update(quantizer)
    return out, x.grad, gradients


def assert_same_step(left, right, exact=True):
    assert torch.equal(left[0].codes, right[0].codes)
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": ROUNDING, "atol": ROUNDING}
    torch.testing.assert_close(left[0].vectors, right[0].vectors, **tolerance)
    torch.testing.assert_close(left[1:], right[1:], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_one_graph_does_what_eager_does(name):
    """From the first call of an unseeded quantizer, over update, which changes its mode, to evaluation."""
    traced, eager = pair(name)
    compiled = torch.compile(traced, fullgraph=True, backend="aot_eager")
    for number in range(3):
        assert_same_step(step(compiled, traced, number), step(eager, eager, number))
    assert_same_state(traced, eager, rtol=ROUNDING, atol=ROUNDING)
    with torch.no_grad():
        x = vectors(ROWS, DIM, seed=9)
        assert torch.equal(compiled.eval()(x).codes, eager.eval()(x).codes)
        assert torch.equal(compiled(x).vectors, eager(x).vectors)
    assert_same_state(traced, eager, rtol=ROUNDING, atol=ROUNDING)


def test_compiled_code_masks_and_accumulates():
    traced, eager = pair("vector")
    for one in (traced, eager):
        codeword.seed(one, vectors(ROWS, DIM))
        codeword.update(one)
    compiled = torch.compile(traced, fullgraph=True)  # the real compiler, once
    x, mask = vectors(2 * ROWS, DIM, seed=1), torch.arange(2 * ROWS) % 3 > 0
    for part, given in zip(x.chunk(2), mask.chunk(2), strict=True):
        left, right = compiled(part, given), eager(part, given)
        assert torch.equal(left.codes, right.codes)
        torch.testing.assert_close(left.loss, right.loss)
    codeword.update(traced)
    codeword.update(eager)
    assert_same_state(traced, eager, rtol=ROUNDING, atol=ROUNDING)
    assert traced.codebook.moved.any()


class Checkpointed(nn.Module):
    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, x):
        return codeword.Quantized(*checkpoint(lambda rows: tuple(self.quantizer(rows)), x, use_reentrant=False))


def test_a_compiled_recomputation_adds_nothing():
    traced, eager = pair("vector")
    for one in (traced, eager):
        codeword.seed(one, vectors(ROWS, DIM))
    compiled = torch.compile(Checkpointed(traced), fullgraph=True, backend="aot_eager")
    for number in range(2):
        assert_same_step(step(compiled, traced, number), step(eager, eager, number))
    assert_same_state(traced, eager, rtol=ROUNDING, atol=ROUNDING)


def test_the_operators_are_registered_as_the_compiler_expects():
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    x, table = vectors(20, DIM), vectors(9, DIM, seed=1)
    op = torch.ops.codeword
    torch.library.opcheck(op.nearest, (x, table), test_utils=checks)
    torch.library.opcheck(
        op.linear, (x.requires_grad_(), table.requires_grad_()), test_utils=[*checks, "test_aot_dispatch_dynamic"]
    )
    book = ResidualQuantizer(levels(1), search=Beam(2))
    torch.library.opcheck(op.search, (x.detach(), [table.detach()], None, book._settings), test_utils=checks)


class Everything(nn.Module):
    """All ways to ask quantizers in evaluation, as one graph."""

    def __init__(self, quantizers):
        super().__init__()
        self.quantizers = nn.ModuleList(quantizers)

    def forward(self, x):
        results = []
        for quantizer in self.quantizers:
            codes, out = quantizer.encode(x), quantizer(x)
            results += [codes, quantizer.decode(codes), out.codes, out.vectors]
        return tuple(results)


def evaluated(names):
    torch.manual_seed(0)
    quantizers = [QUANTIZERS[name]() for name in names]
    for quantizer in quantizers:
        codeword.seed(quantizer, vectors(80, DIM))
    return Everything(quantizers).eval()


def assert_same_answers(model, answers, x):
    for place, quantizer in enumerate(model.quantizers):
        codes = quantizer.encode(x)
        mine = [torch.as_tensor(answer) for answer in answers[4 * place : 4 * place + 4]]
        assert torch.equal(mine[0], codes)
        assert torch.equal(mine[2], codes)
        for vector in (mine[1], mine[3]):
            torch.testing.assert_close(vector, quantizer.decode(codes), rtol=0, atol=ROUNDING)


EXPORTED = [name for name in QUANTIZERS if name != "sets"]


def test_export_gives_the_same_codes_for_any_batch():
    model = evaluated(EXPORTED)
    rows = torch.export.Dim("rows")
    program = torch.export.export(model, (vectors(33, DIM),), dynamic_shapes=({0: rows},))
    x = vectors(50, DIM, seed=1)
    assert_same_answers(model, program.module()(x), x)
    assert not any("codeword" in str(node.target) for node in program.graph.nodes)  # runs without codeword


def test_onnxruntime_gives_the_same_codes(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = evaluated(EXPORTED)
    rows = torch.export.Dim("rows")
    torch.onnx.export(
        model, (vectors(33, DIM),), tmp_path / "model.onnx", dynamo=True, verbose=False, dynamic_shapes=({0: rows},)
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = vectors(50, DIM, seed=1)
    assert_same_answers(model, session.run(None, {session.get_inputs()[0].name: x.numpy()}), x)


def test_channels_first_exports():
    torch.manual_seed(0)
    wrapped = ChannelsFirst(QUANTIZERS["vector"]())
    codeword.seed(wrapped, vectors(80, DIM).reshape(4, 20, DIM).mT)
    x = vectors(24, DIM, seed=1).reshape(2, 3, 4, DIM).movedim(-1, 1)
    program = torch.export.export(wrapped.eval(), (x,))
    assert torch.equal(program.module()(x).codes, wrapped(x).codes)


def test_what_cannot_be_exported_says_so():
    with pytest.raises(ValueError, match="SetBeam does not export"):
        torch.export.export(evaluated(["sets"]), (vectors(33, DIM),))


# --- data parallel ---


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inside, self.quantizer = nn.Linear(DIM, DIM), QUANTIZERS["noise"]()

    def forward(self, x, mask):
        out = self.quantizer(self.inside(x), mask)
        return out.loss + (out.vectors - x).square().mean()


def run(rank, steps=3):
    network = Network()
    model = network
    if rank is not None:
        model = DistributedDataParallel(
            torch.compile(network, fullgraph=True, backend="aot_eager"), broadcast_buffers=False
        )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for number in range(steps):
        x = vectors(ROWS, DIM, seed=number)
        mask = torch.arange(ROWS) % 4 > 0
        if rank is not None:
            x, mask = x.chunk(2)[rank], mask.chunk(2)[rank]
        torch.manual_seed(number)
        optimizer.zero_grad()
        model(x, mask).backward()
        optimizer.step()
        codeword.update(network, optimizer)
    return state(network)


def test_compiled_ranks_are_one_eager_process(tmp_path):
    first, second = on_ranks(run, tmp_path)
    for name, value in run(None).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=ROUNDING, atol=ROUNDING, msg=name)
