"""Speech through files: rates are met, finer steps are better, and no float chooses a table."""

import io

import numpy as np
import pytest
import soundfile
import torch

from codeword.codecs.rates import Kbps, Step
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.export import export, integer_books
from codeword.codecs.speech.model import SpeechModel
from codeword.codecs.speech.streaming import check_samples
from codeword.data.audio_stream import stream_audio
from codeword.formats.errors import FormatError
from codeword.formats.speech import SpeechFileReader, SpeechFileWriter
from codeword.functional.bands import UNIT
from codeword.quantizers import KMeans, VectorQuantizer
from contracts.speech_models import EDGES, QUANTIZERS, speech, speech_codec


@pytest.fixture(scope="module")
def codec():
    return speech_codec()


def wave(audio, rate=16000):
    """A stream of some samples, or of one channel for every row."""
    file = io.BytesIO()
    soundfile.write(file, audio.numpy().T, rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    return stream_audio(file)


def written(codec, audio, rate, **options):
    file = io.BytesIO()
    done = codec.compress(wave(audio), file, rate, **options)
    assert done.num_bytes == len(file.getvalue())
    return done, file.getvalue()


def opened(codec, data):
    return SpeechFileReader(io.BytesIO(data), tables=codec.tables)


def back(codec, data, **options):
    return torch.cat([torch.zeros(1, 0), *codec.decompress(opened(codec, data), **options)], 1)[0]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("samples", [1, 16, 500])
def test_signals_come_back_in_their_length(name, samples, streaming):
    codec, audio = speech_codec(name), speech(samples)
    _, data = written(codec, audio, Step(-20 * UNIT), streaming=streaming)
    found = back(codec, data)
    assert found.shape == audio.shape
    # Every line is off by half a step at most: 2 ** ((s + 3/4 e) / 128).
    assert (found - audio).abs().max() < 0.05 * audio.abs().max() + 1e-3


def test_finer_steps_are_better_and_larger(codec):
    audio = speech(seed=9)
    errors, sizes = [], []
    for step in (-2, -6, -10, -16):
        done, data = written(codec, audio, Step(step * UNIT))
        sizes.append(done.num_bytes)
        errors.append(float((back(codec, data) - audio).square().mean()))
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)


def test_rates_are_met(codec):
    audio = speech(40_000, seed=7)
    for kbps in (12.0, 20.0, 40.0):
        done, _ = written(codec, audio, Kbps(kbps))
        assert done.kbps == pytest.approx(kbps, rel=0.005)
        assert done.note == ""
    done, _ = written(codec, audio, Kbps(0.5))
    assert done.note.startswith("0.5 kbps was asked for")


def test_bytes_are_the_same_whatever_the_number_of_threads(codec):
    before = torch.get_num_threads()
    audio, found = speech(5000, seed=3), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(written(codec, audio, Step(-8 * UNIT))[1])
    torch.set_num_threads(before)
    assert found[0] == found[1]


def test_integers_read_from_bytes_do_not_need_the_model(codec):
    """A decoder with the tables alone reads what was written."""
    _, data = written(codec, speech(seed=4), Step(-9 * UNIT))
    numbers = SpeechFileReader(io.BytesIO(data), tables=codec.tables).read_all()
    assert numbers.dtype == np.int64
    again = SpeechFileReader(io.BytesIO(data), tables=type(codec.tables).from_arrays(codec.tables.arrays())).read_all()
    assert np.array_equal(numbers, again)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_books_add_up_to_envelopes(name):
    quantizer = speech_codec(name).model.quantizer
    books = integer_books(quantizer)
    codes = torch.stack([torch.randint(size, (50,)) for size in quantizer.sizes], 1)
    total = sum(book[codes[:, level]] for level, book in enumerate(books))
    assert np.abs(total / UNIT - quantizer.decode(codes).detach().numpy()).max() <= len(books) * 0.5 / UNIT + 1e-4


def test_live_speech_is_what_the_file_would_be(codec):
    """However blocks are cut; with the delay that is promised."""
    audio = speech(3000, seed=5).view(1, -1)
    _, data = written(codec, audio[0], Step(-8 * UNIT))
    whole, heard = opened(codec, data).read_all(), back(codec, data)
    generator = np.random.default_rng(0)
    for sizes in ([1] * 70, [3000], generator.integers(0, 200, 40).tolist()):
        encoder, decoder = codec.encoder(Step(-8 * UNIT)), codec.decoder()
        frames, sound, pushed, out = [], [], 0, 0
        for block in audio.split([*sizes, 3000 - sum(sizes)] if sum(sizes) <= 3000 else [3000], 1):
            frames.append(encoder.push(block))
            sound.append(decoder.push(frames[-1]))
            pushed, out = pushed + block.shape[1], out + sound[-1].shape[1]
            assert 32 * sum(map(len, frames)) >= pushed - encoder.latency
            assert out >= pushed - encoder.latency - decoder.latency
        frames.append(encoder.finish())
        sound.append(decoder.push(frames[-1]))
        found = np.concatenate(frames)
        assert np.array_equal(found, whole)
        torch.testing.assert_close(torch.cat(sound, 1)[0, :3000], heard, atol=2e-3, rtol=0)
        assert np.array_equal(encoder.push(audio)[:50], whole[:50])  # the next signal begins anew


def test_a_stream_keeps_its_rate_without_looking_ahead(codec):
    audio = speech(240_000, seed=2) * torch.linspace(0.2, 3.0, 240_000)
    for kbps in (12.0, 24.0):
        done, data = written(codec, audio, Kbps(kbps), streaming=True)
        assert done.kbps == pytest.approx(kbps, rel=0.04)
        assert done.note == ""
        steps = opened(codec, data).read_all()[:, 0]
        assert np.abs(np.diff(steps)).max() < 8 * UNIT
        half = io.BytesIO()
        codec.compress(wave(audio[:120_000]), half, Kbps(kbps), streaming=True)
        early = opened(codec, half.getvalue()).read_all()
        assert np.array_equal(early[:3700], opened(codec, data).read_all()[:3700])


@pytest.mark.parametrize("loud", [1.0, 0.01, 0.001])
def test_a_quiet_voice_has_its_rate_in_a_stream_too(codec, loud):
    done, _ = written(codec, loud * speech(240_000, seed=2), Kbps(16.4), streaming=True)
    assert done.kbps == pytest.approx(16.4, rel=0.04)


@pytest.mark.parametrize("streaming", [False, True])
def test_silence_takes_next_to_nothing(codec, streaming):
    done, data = written(codec, torch.zeros(160_000), Kbps(16.4), streaming=streaming)
    assert done.kbps < 8.5  # 500 frames a second whose codes are told
    assert "16.4 kbps was asked for" in done.note
    assert back(codec, data).abs().max() < 1e-3


@pytest.mark.parametrize("streaming", [False, True])
def test_any_stretch_is_a_part_of_the_whole(codec, streaming):
    audio = speech(16_000, seed=6)
    _, data = written(codec, audio, Step(-8 * UNIT), streaming=streaming)
    whole = back(codec, data)
    for start, stop in [(0, 16_000), (31, 33), (32, 64), (15_999, 16_000), (500, 9000), (700, 700)]:
        found = torch.cat(
            [torch.zeros(1, 0), *codec.decompress(opened(codec, data), start=start / 16000, stop=stop / 16000)], 1
        )[0]
        torch.testing.assert_close(found, whole[start:stop], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="the signal is 1 seconds long"):
        back(codec, data, stop=1.5)
    with pytest.raises(ValueError, match="the signal is 1 seconds long"):
        back(codec, data, start=1e308)


def test_a_pipe_is_read_in_order(codec):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    audio = speech(5000)
    for streaming in (False, True):
        _, data = written(codec, audio, Step(-8 * UNIT), streaming=streaming)
        reader = SpeechFileReader(Pipe(data), tables=codec.tables)
        assert torch.equal(torch.cat(list(codec.decompress(reader)), 1)[0], back(codec, data))
        with pytest.raises(ValueError, match=r"save the file first|only in order|can only be read in order"):
            list(codec.decompress(SpeechFileReader(Pipe(data), tables=codec.tables), start=0.1))


def test_what_is_lost_is_silent(codec):
    audio = speech(20_000, seed=6)
    file = io.BytesIO()
    codec.compress(wave(audio), file, Kbps(20.0), streaming=True)
    data = bytearray(file.getvalue())
    place = data.index(b"CHNK", data.index(b"CHNK") + 4)
    data[place + 40] ^= 255
    blocks, report = codec.salvage(opened(codec, bytes(data)))
    ((first, last),) = report.missing
    found = torch.cat(list(blocks), 1)[0]
    whole = back(codec, file.getvalue())
    assert (found[32 * first + 16 : 32 * last - 32] == 0).all()
    torch.testing.assert_close(found[: 32 * first - 16], whole[: 32 * first - 16], atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused(codec):
    for rate, message in [
        (Kbps(8.0, cap=9.0), "a cap is for frames of a neural codec"),
        (Step(10**6), "steps have whole exponents from"),
    ]:
        file = io.BytesIO()
        with pytest.raises(ValueError, match=message):
            codec.compress(wave(speech(100)), file, rate)
        assert not file.getvalue()
    for given in (wave(speech(100), 8000), wave(torch.zeros(2, 100))):
        with pytest.raises(ValueError, match="the model is for one channel at 16000 Hz"):
            codec.compress(given, io.BytesIO(), Step(0))
    with pytest.raises(ValueError, match="samples must be finite"):
        codec.encoder(Step(0)).push(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(ValueError, match="these tables belong to another model"):
        SpeechCodec(speech_codec("residual").model, codec.tables)
    _, data = written(codec, speech(100), Step(0))
    torch.manual_seed(1)
    other = SpeechModel(EDGES, VectorQuantizer(4, 16, seeding=KMeans()), overlap=8)
    other.train().code(other.analyse(speech().view(1, -1)), torch.zeros(1))
    with pytest.raises(ValueError, match="the file was written with model"):
        back(SpeechCodec(other, export(other, [speech()])), data)
    with pytest.raises(ValueError, match="these tables belong to another model"):
        SpeechCodec(other, codec.tables)


@pytest.mark.parametrize("frames", [99, 100, 101, 200])
def test_a_stream_may_end_anywhere(codec, frames):
    for samples in (32 * frames - 16, 32 * frames - 47):
        _, data = written(codec, speech(samples), Kbps(20.0), streaming=True)
        assert back(codec, data).shape == (samples,)


def test_after_a_pause_no_more_comes_than_was_promised(codec):
    kbps, span = 20.0, 3200
    audio = torch.cat([speech(32_000, seed=1), torch.zeros(256_000), speech(32_000, seed=2)])
    encoder = codec.encoder(Kbps(kbps))
    frames = np.concatenate([encoder.push(audio.unsqueeze(0)), encoder.finish()])
    spans = [codec._rounding.message_bits(frames[start : start + 100]) for start in range(0, len(frames) - 99, 100)]
    income = 1000 * kbps * span / 16000
    for start in range(len(spans)):
        for stop in range(start + 1, len(spans) + 1):
            assert sum(spans[start:stop]) < (stop - start) * income + 4.2 * 1000 * kbps


def test_a_lost_end_is_silent_and_told(codec):
    audio = speech(20_000, seed=3)
    frames = opened(codec, written(codec, audio, Step(-6 * UNIT))[1]).read_all()
    file = io.BytesIO()
    with SpeechFileWriter(file, codec._header(len(audio)), tables=codec.tables, chunk_frames=200) as writer:
        writer.write(frames)
    data = file.getvalue()
    whole = codec.salvage(codec.reader(io.BytesIO(data)))
    assert torch.equal(torch.cat(list(whole.blocks), 1)[0], back(codec, data))
    second = data.index(b"CHNK", data.index(b"CHNK") + 4)
    blocks, report = codec.salvage(codec.reader(io.BytesIO(data[: second + 10])))
    found = torch.cat(list(blocks), 1)[0]
    ((first, last),) = report.missing
    assert found.shape == audio.shape and last == codec.model.num_frames(len(audio))
    assert (found[32 * first + 16 :] == 0).all()


def test_files_whose_frames_contradict_their_length_are_refused(codec):
    _, data = written(codec, speech(3200), Step(-6 * UNIT), streaming=True)
    frames = opened(codec, data).read_all()
    for told, fits in ((3200, True), (3100, False), (None, True)):
        file = io.BytesIO()
        writer = SpeechFileWriter(file, codec._header(None), tables=codec.tables)
        writer.write(frames)
        writer.close(told)
        if fits:
            assert len(back(codec, file.getvalue())) >= 3200
            assert len(back(codec, file.getvalue(), start=0.1)) >= 1600
            continue
        for options in ({}, {"start": 0.1}):
            with pytest.raises(FormatError, match="3100 samples have 98 frames, not 101"):
                back(codec, file.getvalue(), **options)


@pytest.mark.parametrize(
    ("block", "match"),
    [
        (torch.zeros(2, 100), "shape"),
        (torch.zeros(1, 100, dtype=torch.int16), "samples are floats with full scale 1, got torch.int16"),
        (torch.full((1, 100), 3e38), "samples reach 3e.38, full scale is 1: divide them"),
    ],
)
def test_blocks_that_are_no_speech_are_refused(block, match):
    with pytest.raises(ValueError, match=match):
        check_samples(block)


def test_steps_that_no_encoder_takes_are_refused(codec):
    file = io.BytesIO()
    frames = np.zeros((1, 1 + len(codec.tables.sizes) + 32), dtype=np.int64)
    frames[0, 0] = 32_767
    with SpeechFileWriter(file, codec._header(16), tables=codec.tables) as writer:
        writer.write(frames)
    with pytest.raises(FormatError, match="steps have exponents from"):
        back(codec, file.getvalue())


def test_nothing_at_an_absurd_rate_is_a_file(codec):
    done, _ = written(codec, torch.zeros(0), Kbps(0.001), streaming=True)
    assert (done.seconds, done.note) == (0.0, "")
