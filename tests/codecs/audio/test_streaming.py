"""Streams equal the whole, hold no more than they need, and are as late as they say."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from codeword.codecs.audio.reservoir import Reservoir, frame_costs
from codeword.codecs.audio.streaming import StreamingDecoder, StreamingEncoder
from codeword.codecs.audio.transform import CodedFrames
from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.functional.rate import codes_at, depths_at
from contracts.audio_models import LAYOUTS, model, noise

HOP = 320
CLOSE = 1e-5  # of full scale
TIES = 0.01  # share of frames where two codewords are equally near but for rounding
CAUSAL = [name for name, layout in LAYOUTS.items() if layout.padding == "causal"]
causal = pytest.mark.parametrize("name", CAUSAL)


def blocks(signal, sizes, axis):
    """Cut a signal into blocks of these sizes, taken in turn."""
    sizes, start = itertools.cycle(sizes), 0
    while start < signal.shape[axis]:
        size = min(next(sizes), signal.shape[axis] - start)
        yield signal.narrow(axis, start, size)
        start += size


def encoded(encoder, parts):
    found = [*(encoder.push(part) for part in parts), encoder.finish()]
    importance = None if found[0].importance is None else torch.cat([part.importance for part in found], 1)
    return CodedFrames(torch.cat([part.codes for part in found], 1), importance)


def decoded(decoder, parts):
    return torch.cat([*(decoder.push(part) for part in parts), decoder.finish()], -1)


@torch.no_grad()
def whole(net, signal):
    """Codes of all levels and importance from the network itself."""
    padded = F.pad(signal, (0, -signal.shape[-1] % HOP))
    latents, importance = net.analyse(padded.unsqueeze(1))
    return CodedFrames(net.quantizer.quantizer.encode(latents), importance)


@torch.no_grad()
def wave(net, codes):
    return net.synthesise(net.quantizer.quantizer.decode(codes)).squeeze(1)


def louder(channels, frames):
    """A signal whose frames differ in importance."""
    return noise(channels, HOP * frames) * torch.linspace(0.01, 30.0, HOP * frames)


def codes_like(frames, channels=1, seed=0):
    """Any codes of any depth, none included."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 64, (channels, frames, 4), generator=generator)
    depth = torch.randint(0, 5, (channels, frames, 1), generator=generator)
    return torch.where(torch.arange(4) < depth, codes, -1)


def assert_same(mine, wanted):
    assert mine.codes.shape == wanted.codes.shape
    assert (mine.codes != wanted.codes).any(-1).float().mean() <= TIES
    torch.testing.assert_close(mine.importance, wanted.importance, atol=CLOSE, rtol=0)


RANDOM = np.random.default_rng(3).integers(1, 1500, 20).tolist()


@causal
@pytest.mark.parametrize("sizes", [[HOP], [1, 2, HOP - 3, 700], RANDOM, [10**6]])
def test_a_stream_of_samples_equals_the_whole(name, sizes):
    net, signal = model(name), noise(2, HOP * 15 + 17)
    assert_same(encoded(StreamingEncoder(net, channels=2), blocks(signal, sizes, -1)), whole(net, signal))


@causal
def test_single_samples_and_long_blocks_equal_the_whole(name):
    net, signal = model(name), noise(1, HOP * 3 + 1)
    assert_same(encoded(StreamingEncoder(net), signal.split(1, -1)), whole(net, signal))
    long = noise(1, HOP * 205)  # more than is computed at once
    assert_same(encoded(StreamingEncoder(net), [long]), whole(net, long))
    codes = codes_like(205)
    torch.testing.assert_close(decoded(StreamingDecoder(net), [codes]), wave(net, codes), atol=CLOSE, rtol=0)


@causal
@pytest.mark.parametrize("sizes", [[1], [1, 0, 2, 5, 1, 3], [7], [1000]])
def test_a_stream_of_codes_equals_the_whole(name, sizes):
    net, codes = model(name), codes_like(24, channels=2)
    made, wanted = decoded(StreamingDecoder(net, channels=2), blocks(codes, sizes, 1)), wave(net, codes)
    assert made.shape == wanted.shape == (2, 24 * HOP)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(made, wanted, atol=CLOSE * float(wanted.abs().max()), rtol=0)


@causal
def test_encoder_and_decoder_together_are_the_model(name):
    net, signal = model(name), noise(2, HOP * 12)
    with torch.no_grad():
        wanted = net(signal.unsqueeze(1), scale=6.0)
    encoder, decoder = StreamingEncoder(net, Scale(6.0), channels=2), StreamingDecoder(net, channels=2)
    parts = [encoder.push(block) for block in blocks(signal, [777], -1)] + [encoder.finish()]
    made = decoded(decoder, [part.codes for part in parts])
    same = (torch.cat([part.codes for part in parts], 1) == wanted.codes).all(-1)
    assert same.all()  # with these weights and this noise nothing is near a tie
    torch.testing.assert_close(made, wanted.vectors.squeeze(1), atol=CLOSE, rtol=0)


@causal
def test_what_is_out_is_final(name):
    net, frames = model(name), 12
    signal, more = noise(1, HOP * frames), noise(1, HOP * 5, seed=9)
    encoder = StreamingEncoder(net)
    early = encoder.push(signal)
    assert early.codes.shape[1] == frames
    later = whole(net, torch.cat([signal, more], -1))
    assert_same(early, CodedFrames(later.codes[:, :frames], later.importance[:, :frames]))
    decoder = StreamingDecoder(net)
    made = decoder.push(early.codes)
    for seed in (1, 2):  # whatever comes next
        longer = wave(net, torch.cat([early.codes, codes_like(6, seed=seed)], 1))
        torch.testing.assert_close(made, longer[:, : made.shape[1]], atol=CLOSE * float(longer.abs().max()), rtol=0)


@causal
def test_streams_and_channels_know_nothing_of_one_another(name):
    net = model(name)
    first, second = noise(1, HOP * 9 + 5), noise(1, HOP * 9 + 5, seed=2)
    alone = [encoded(StreamingEncoder(net), blocks(x, [500], -1)) for x in (first, second)]
    together = encoded(StreamingEncoder(net, channels=2), blocks(torch.cat([first, second]), [500], -1))
    mine, yours = StreamingEncoder(net), StreamingEncoder(net)
    woven = [[], []]
    for a, b in zip(blocks(first, [500], -1), blocks(second, [500], -1), strict=True):
        woven[0].append(mine.push(a))
        yours.push(b)
    for number, one in enumerate(alone):
        assert torch.equal(together.codes[number], one.codes[0])
        assert torch.equal(together.importance[number], one.importance[0])
    assert torch.equal(torch.cat([part.importance for part in woven[0]], 1), alone[0].importance[:, :9])
    stereo = StreamingDecoder(net, channels=2)
    for number, one in enumerate(decoded(stereo, blocks(together.codes, [2], 1))):
        assert torch.equal(one, decoded(StreamingDecoder(net), blocks(alone[number].codes, [2], 1))[0])


@causal
def test_a_finished_stream_begins_anew(name):
    net, signal = model(name), louder(1, 40)[:, :-100]
    encoder, decoder = StreamingEncoder(net, Kbps(1.0)), StreamingDecoder(net)
    first, second = (encoded(encoder, [signal]) for _ in range(2))
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.importance, second.importance)
    assert torch.equal(*(decoded(decoder, [first.codes]) for _ in range(2)))


@causal
@pytest.mark.parametrize("kernels", [(5, 3, 3, 3, 1), None])
def test_nothing_and_one_sample(name, kernels):
    net = model(name, kernels=kernels)
    encoder, decoder = StreamingEncoder(net), StreamingDecoder(net)
    for nothing in (encoder.push(torch.zeros(1, 0)), encoder.push(noise(1, 1)[:, :0]), encoder.finish()):
        assert nothing.codes.shape == (1, 0, 4)
        assert (nothing.importance is None) == (kernels is None)
    assert decoder.push(nothing.codes).shape == decoder.finish().shape == (1, 0)
    assert encoder.push(noise(1, 1)).codes.shape[1] == 0
    one = encoder.finish()
    assert one.codes.shape == (1, 1, 4)
    assert torch.equal(one.codes, whole(net, noise(1, 1)).codes)
    made = decoded(decoder, [one.codes])
    torch.testing.assert_close(made, wave(net, one.codes), atol=1e-7, rtol=0)


@causal
def test_no_output_depends_on_more_of_the_future_than_the_latency(name):
    """Impulses at samples of a hop, and the first sample of the output that feels each of them."""
    net = model(name).double()
    latency = StreamingEncoder(net).latency + StreamingDecoder(net).latency
    at = 8 * HOP + torch.tensor([0, 1, 100, HOP - 2, HOP - 1])
    signal = noise(1, 12 * HOP).double().repeat(len(at), 1)
    changed = signal.clone()
    changed[torch.arange(len(at)), at] += 100.0
    with torch.no_grad():
        before, after = (net.synthesise(net.analyse(x.unsqueeze(1)).latents) for x in (signal, changed))
    reach = at - (after != before).squeeze(1).int().argmax(1)  # how far ahead of its first effect an impulse stands
    # The first sample that a frame of spectra reaches has the weight 0 in a Hann window.
    assert int(reach.max()) == latency - (1 if "spectral" in name else 0)


@causal
def test_streams_are_as_late_as_they_say(name):
    net = model(name)
    encoder, decoder = StreamingEncoder(net), StreamingDecoder(net)
    coded = made = 0
    behind = []
    for number, sample in enumerate(noise(1, 7 * HOP).split(1, -1), 1):
        codes = encoder.push(sample).codes
        coded += codes.shape[1] * HOP
        made += decoder.push(codes).shape[1]
        behind.append((number - coded, coded - made, number - made))
    encoders, decoders, both = zip(*behind, strict=True)
    assert max(encoders) == encoder.latency == HOP - 1
    assert max(decoders) == decoder.latency == (960 if "spectral" in name else 0)
    assert max(both) == encoder.latency + decoder.latency


@causal
def test_memory_does_not_grow(name):
    net = model(name)
    encoder, decoder = StreamingEncoder(net), StreamingDecoder(net)

    def held():
        tensors = [t for stream in (encoder, decoder) for memory in stream._memories for t in memory._held.values()]
        tensors += [encoder._rest, decoder._open]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    decoder.push(encoder.push(noise(1, 60 * HOP)).codes)
    before = held()
    for _ in range(3):
        decoder.push(encoder.push(noise(1, 100 * HOP)).codes)
    assert held() == before > 0


@causal
def test_depths_follow_the_rate(name):
    net, signal = model(name), louder(2, 30)
    full = whole(net, signal)
    codes, importance = full.codes.numpy(), full.importance.numpy()
    kbps = 1.7
    income = 1000 * kbps / net.frame_rate
    reservoir = Reservoir(frame_costs((64,) * 4), income, 4 * net.frame_rate * income, channels=2)
    for rate, depths in {
        None: 4,
        Levels(3): 3,
        Scale(5.0): depths_at(importance, 5.0, 4),
        Kbps(kbps): reservoir.spend(importance),
    }.items():
        found = encoded(StreamingEncoder(net, rate, channels=2), blocks(signal, [1234], -1))
        wanted = torch.from_numpy(codes_at(codes, depths))
        assert (found.codes != wanted).any(-1).float().mean() <= TIES
        torch.testing.assert_close(found.importance, full.importance, atol=CLOSE, rtol=0)
    depths = (found.codes >= 0).sum(-1)
    assert len(depths.unique()) > 1
    spent = torch.tensor(frame_costs((64,) * 4))[depths].sum(0)
    assert float(spent.mean()) == pytest.approx(income, rel=0.5)


def test_what_cannot_stream_says_so():
    for name in ("wave", "spectral"):
        for kind in (StreamingEncoder, StreamingDecoder):
            with pytest.raises(ValueError, match=r"looks ahead: to stream, train one with padding=.causal."):
                kind(model(name))
    net = model("spectral causal")
    for stream, block in ((StreamingEncoder(net), noise(2, 10)), (StreamingDecoder(net), codes_like(1, 2))):
        with pytest.raises(ValueError, match="has 1 channels, got a block of 2"):
            stream.push(block)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be finite"):
            StreamingEncoder(net).push(torch.full((1, 640), bad))
    with pytest.raises(ValueError, match="scales lie between 1 and 24"):
        StreamingEncoder(net, Scale(100.0))
    with pytest.raises(ValueError, match="choose 1 to 4, got 5"):
        StreamingEncoder(net, Levels(5))
    with pytest.raises(ValueError, match=r"0\.1 kbps are too few .* takes 0\.\d+, ask"):
        StreamingEncoder(net, Kbps(0.1))
    constant = model("spectral causal", kernels=None)
    for rate in (Kbps(2.0), Scale(2.0)):
        with pytest.raises(ValueError, match="constant depth"):
            StreamingEncoder(constant, rate)
