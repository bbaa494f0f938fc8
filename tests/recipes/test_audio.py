import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.layout import LappedLayout
from codeword.codecs.audio.streaming import StreamingDecoder
from codeword.data.audio_corpus import AudioClip, AudioEntry, Corpus, open_corpus, scan
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_writer import AudioWriter
from codeword.recipes.audio import DISCRIMINATOR, _signals, divided, recipe, report, resume_folder, train
from codeword.recipes.image import recipe as image_recipe
from contracts.audio_models import RATE, noise

NAMES = ("paper", "paper-16", "small", "speech-16k", "stream-16k", "smoke")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(3):
        with AudioWriter(folder / f"{number}.wav", rate=RATE, channels=1) as writer:
            writer.write(noise(1, 4 * RATE, seed=number))
    (folder / "broken.wav").write_bytes(b"nothing")
    return folder


def quick(name="smoke", **changes):
    config = recipe(name)
    loop = replace(config.loop, steps=2, validate_every=2, checkpoint_every=1, progress=False, accelerator="cpu")
    return replace(config, loop=loop, batch=2, seconds=0.6, **changes)


def test_a_model_is_trained_on_a_folder_and_used(recordings, tmp_path):
    out = tmp_path / "model"
    result = train(quick(), recordings, out, workers=0)
    assert result.outcome.step == 2
    assert "1 files skipped" in result.report
    assert not resume_folder(out).exists()
    codec = AudioCodec.open(out)
    assert codec.fingerprint == result.codec.fingerprint
    assert codec.tables is not None
    coded = list(codec.transform.encode(stream_audio(recordings / "0.wav")))
    assert sum(part.codes.shape[1] for part in coded) == 200
    assert not (out / DISCRIMINATOR).exists()


def test_discriminators_are_kept_for_fine_tuning(recordings, tmp_path):
    small = recipe("small").training
    judges = replace(small.discriminator, periods=(2,), period_widths=(4, 8), windows=(256,), spectral_width=4)
    config = quick(training=replace(quick().training, discriminator=judges))
    config = replace(config, loop=replace(config.loop, clip_norm=(10.0, 1e3)))
    train(config, recordings, tmp_path / "m", workers=0)
    saved = load_file(tmp_path / "m" / DISCRIMINATOR)
    still = replace(config, training=replace(config.training, learning_rate=0.0))
    train(still, recordings, tmp_path / "n", workers=0, start_from=tmp_path / "m")
    again = load_file(tmp_path / "n" / DISCRIMINATOR)
    assert all(torch.equal(saved[name], again[name]) for name in saved)
    wider = replace(config, training=replace(config.training, discriminator=replace(judges, spectral_width=8)))
    with pytest.raises(ValueError, match="does not fit the recipe's discriminators"):
        train(wider, recordings, tmp_path / "o", workers=0, start_from=tmp_path / "m")


def test_fine_tuning_goes_on_from_a_model(recordings, tmp_path):
    first = train(quick(), recordings, tmp_path / "first", workers=0).codec
    still = quick(training=replace(quick().training, learning_rate=0.0, variable_from=9), levels=7)
    second = train(still, recordings, tmp_path / "second", workers=0, start_from=tmp_path / "first").codec
    assert second.fingerprint == first.fingerprint
    moved = train(quick(), recordings, tmp_path / "third", workers=0, start_from=tmp_path / "first").codec
    assert moved.fingerprint != first.fingerprint
    with pytest.raises(ValueError, match="works at 16000 Hz, the recipe at 44100 Hz"):
        train(quick("small"), recordings, tmp_path / "fourth", workers=0, start_from=tmp_path / "first")


def test_a_model_on_a_lapped_transform_is_seeded_from_the_corpus(recordings, tmp_path):
    layout = LappedLayout(dim=8, inner=16, encoder_blocks=1, decoder_blocks=1, latent=8)
    codec = train(quick("speech-16k", layout=layout, levels=2), recordings, tmp_path / "m", workers=0).codec
    axes = codec.model.encoder.linear.weight.detach()
    torch.testing.assert_close(axes @ axes.t(), torch.eye(8), atol=0.02, rtol=0)


def test_an_interrupted_training_goes_on(recordings, tmp_path):
    out = tmp_path / "model"
    config = quick()

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AudioCodec, "learn_tables", stop)
        train(config, recordings, out, workers=0)
    assert resume_folder(out).is_dir()
    assert not out.exists()
    assert train(config, recordings, out, workers=0).outcome.seconds_per_step == 0, "nothing was left to train"


def test_a_dry_run_writes_nothing(recordings, tmp_path):
    result = train(quick(), recordings, tmp_path / "model", workers=0, dry_run=True)
    assert result.outcome.step == 2
    assert list(tmp_path.iterdir()) == []


def test_fewer_steps_have_a_shorter_schedule():
    assert recipe("speech-16k", steps=100).loop.schedule(99) < 0.06
    assert recipe("paper", steps=100).loop.steps == 100


def test_one_recording_is_too_few(tmp_path):
    with AudioWriter(tmp_path / "only.wav", rate=RATE, channels=1) as writer:
        writer.write(noise(1, RATE))
    with pytest.raises(ValueError, match="1 recordings are too few"):
        train(quick(), tmp_path, tmp_path.parent / "model")


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_whole(name):
    config = recipe(name)
    model = config.model()
    assert model.levels == config.levels
    assert round(config.seconds * config.sample_rate) > 4 * model.hop
    longest = max(config.training.mels.windows)
    assert config.seconds * config.sample_rate > longest / 2


def test_the_paper_has_the_papers_numbers():
    config = recipe("paper")
    model = config.model()
    assert (model.hop, model.levels, model.size, model.code_dim) == (512, 8, 1024, 8)
    assert model.frame_rate == pytest.approx(86.13, abs=0.01)
    assert model.quantizer.scales == (1.0, 48.0)
    assert config.training.weights == (15.0, 0.0, 0.0, 0.0, 2.0, 1.0, 2.0, 1.0)
    # Those of DAC's 44.1 kHz model with eight of its nine codebooks, without the importance net.
    own = sum(p.numel() for part in (model.encoder, model.decoder) for p in part.parameters())
    assert own == pytest.approx(76.41e6, rel=2e-3)
    assert sum(p.numel() for p in model.importance.parameters()) < 4.93e6


def corpus(*splits):
    clips = [
        AudioClip(AudioEntry(path=f"{number}.wav", split=split), RATE, 1, 0, RATE)
        for number, split in enumerate(splits)
    ]
    return Corpus(tuple(clips))


@pytest.mark.parametrize(
    "splits", [("train",) * 6 + ("test",) * 3, ("",) * 6, ("",) * 3 + ("test",), ("train", "train", "extra")]
)
def test_what_is_kept_for_test_is_never_trained_on(splits):
    parts = divided(corpus(*splits))
    after = {clip.entry.path: clip.entry.split for clip in parts.clips}
    for number, split in enumerate(splits):
        kept = split if split in ("test", "extra") else None
        assert after[f"{number}.wav"] == kept or (kept is None and after[f"{number}.wav"] in ("train", "val"))
    assert {"train", "val"} <= set(after.values())


def test_splits_that_are_complete_stay():
    named = corpus("train", "val", "test", "")
    assert divided(named) is named
    with pytest.raises(ValueError, match="1 recordings are too few"):
        divided(corpus("train", "test", "test"))


def test_a_file_that_breaks_off_is_reported_and_skipped(recordings, tmp_path):
    folder = tmp_path / "recordings"
    shutil.copytree(recordings, folder)
    sound = np.random.default_rng(0).standard_normal(4 * RATE) * 0.1
    soundfile.write(folder / "cut.flac", sound, RATE)
    body = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(body[: len(body) // 8])
    bad = {}
    found = open_corpus(folder)
    signals = [torch.cat([*blocks, torch.zeros(1, 0)], 1) for blocks in _signals(found, recipe("smoke"), bad)]
    assert len(signals) == 4
    assert [signal.shape[1] for signal in signals[:3]] == [4 * RATE] * 3
    assert list(bad) == [str(folder / "cut.flac")]
    assert "2 files skipped" in report(found, bad)


def test_tables_are_learned_from_the_parts_that_a_manifest_names(recordings):
    entry = AudioEntry(path=str(recordings / "0.wav"), start=1.0, seconds=0.5)
    (blocks,) = _signals(scan([entry]), recipe("smoke"), {})
    (block,) = blocks
    torch.testing.assert_close(block, noise(1, 4 * RATE, seed=0)[:, RATE : RATE * 3 // 2], atol=1e-4, rtol=0)


def test_a_stream_recipe_never_looks_ahead():
    config = recipe("stream-16k")
    assert config.layout.padding == "causal"
    assert StreamingDecoder(replace(config, layout=replace(config.layout, dim=8, inner=8)).model()).latency == 960
    assert recipe("paper-16").levels == 16


def test_variable_depth_begins_at_a_tenth_of_any_number_of_steps():
    for steps in (50, 100_000):
        assert recipe("speech-16k", steps=steps).training.variable_from == steps // 10
        assert image_recipe("photos", steps=steps).training.spending.variable_from == steps // 10
