import json
import math
from dataclasses import fields, replace

import pytest
import torch

from codeword.data.audio_listings import list_audio
from codeword.data.audio_samples import AudioSampleConfig, MelStatistics
from codeword.data.mel_augment import BetaGain, RollTime, SpecAugment
from codeword.functional.filterbank import MelConfig
from codeword.nn.vit import VisionTransformer
from codeword.pretraining.classifier import Classifier, evaluate
from codeword.pretraining.finetuning import (
    FineTuneConfig,
    FineTuneTask,
    LabelledSamples,
    WeightedSampling,
    layer_of,
    smoothed,
)
from codeword.pretraining.front_ends import AudioFrontEnd, ImageFrontEnd
from codeword.pretraining.label_mixing import CutMix, MelLabelMixup, Mixup
from codeword.pretraining.masking import RandomMask
from codeword.pretraining.samples import Inputs
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from codeword.training.loop_config import LoopConfig
from contracts.audio_samples import signal, write
from contracts.labelled import TINY, quarter_samples
from contracts.pretraining import Unfiled

TOLERANCE = 1e-6
CLASSES = ("a", "b", "c", "d")
PLAIN = FineTuneConfig(batch=8, learning_rate=1e-3, layer_decay=1.0, drop_path=0.0, smoothing=0.0)
ALL = replace(
    PLAIN,
    views=3,
    layer_decay=0.7,
    drop_path=0.2,
    smoothing=0.1,
    mixing=(Mixup(), CutMix()),
    spec_augment=SpecAugment(time=2, bins=2),
    mask=RandomMask(0.25),
    sampling=WeightedSampling(),
)
LOOP = LoopConfig(steps=6, progress=False, accelerator="cpu", log_every=1, checkpoint_every=2, validate_every=3)


def classifier(**options):
    torch.manual_seed(0)
    return Classifier(TINY, CLASSES, **options)


def flags(labels):
    return torch.nn.functional.one_hot(labels, 4).float()


def task(config=PLAIN, several=False, **options):
    parts = [quarter_samples(20, seed) for seed in (0, 1)]
    given = [LabelledSamples(samples, flags(labels) if several else labels) for samples, labels in parts]
    return FineTuneTask(classifier(**options), *given, config)


def batch_of(made, number=0, rank=0, world_size=1):
    return next(made.batches(number, rank, world_size))


def seen(made, batch=None):
    """What the network gets in a step, and the loss."""
    calls = []
    made.train()
    handle = made.classifier.network.register_forward_pre_hook(lambda _, given: calls.append(given))
    result = made.step(batch_of(made) if batch is None else batch, 0)
    handle.remove()
    return calls[0], float(result.loss.detach())


def test_the_learning_rate_falls_from_the_head_to_the_patches():
    config = replace(PLAIN, layer_decay=0.5, weight_decay=0.3)
    made = task(config, pooling="attentive")
    names = {id(parameter): name for name, parameter in made.classifier.named_parameters()}
    (optimizer,) = made.optimizers()
    found = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = group["lr"], group["weight_decay"]
    assert set(found) == set(names.values())
    expected = {"network.embed": 3, "network.prefix": 3, "network.transformer.blocks.0": 2}
    expected |= {"network.transformer.blocks.1": 1, "pool": 0, "norm": 0, "head": 0}
    for name, (rate, decay) in found.items():
        (power,) = {power for start, power in expected.items() if name.startswith(start)}
        assert rate == pytest.approx(1e-3 * 0.5**power), name
        weight = name.endswith(".weight") and "norm" not in name
        assert decay == (0.3 if weight else 0.0), name
    assert layer_of("network.transformer.blocks.11.mlp.0.weight", 12) == 12


def test_the_decayed_learning_rates_are_those_of_the_loop():
    made = task(replace(PLAIN, layer_decay=0.1, weight_decay=0.0))
    before = {name: value.detach().clone() for name, value in made.classifier.named_parameters()}
    # The head starts at almost nothing, so that gradients of other layers do: a first step of Adam hides that.
    train(made, replace(LOOP, steps=1, keep_best=False))
    moved = {
        name: float((value.detach() - before[name]).abs().max()) for name, value in made.classifier.named_parameters()
    }
    assert moved["head.weight"] == pytest.approx(1e-3, rel=0.1)
    assert moved["network.transformer.blocks.1.mlp.2.weight"] < 2e-4
    assert moved["network.transformer.blocks.0.mlp.2.weight"] < 2e-5


def test_drop_path_rises_to_its_rate_and_only_training_has_it():
    made = task(replace(PLAIN, drop_path=0.4))
    assert [block.drop.rate for block in made.classifier.network.transformer.blocks] == [0.0, 0.4]
    torch.nn.init.normal_(made.classifier.head.weight)
    x = torch.randn(64, 1, 8, 8)
    made.train()
    assert not torch.equal(made.classifier(x), made.classifier(x))
    made.eval()
    assert torch.equal(made.classifier(x), made.classifier(x))
    made.train()
    samples, _ = made.validation
    assert torch.equal(made.classifier.scores(samples, batch=7), made.classifier.scores(samples))
    assert made.classifier.training


def test_smoothed_labels_are_in_the_loss_as_in_a_loop():
    made = task(replace(PLAIN, smoothing=0.2))
    torch.nn.init.normal_(made.classifier.head.weight)
    batch = batch_of(made)
    scores = made.classifier(batch.inputs.values).detach()
    total = 0.0
    for row, label in zip(scores.log_softmax(1), batch.targets.argmax(1).tolist(), strict=True):
        for number, value in enumerate(row.tolist()):
            total -= (0.8 * (number == label) + 0.2 / 4) * value
    assert seen(made, batch)[1] == pytest.approx(total / 8, abs=TOLERANCE)
    assert torch.allclose(smoothed(batch.targets, 0.2).sum(1), torch.ones(8))


def test_binary_cross_entropies_are_those_of_a_loop():
    made = task(replace(PLAIN, smoothing=0.2, loss="bce"), several=True)
    torch.nn.init.normal_(made.classifier.head.weight)
    batch = batch_of(made)
    scores = made.classifier(batch.inputs.values).detach().sigmoid().double()
    wanted = smoothed(batch.targets, 0.2)
    total = sum(
        -float(t) * math.log(float(p)) - (1 - float(t)) * math.log(1 - float(p))
        for t, p in zip(wanted.flatten(), scores.flatten(), strict=True)
    )
    assert seen(made, batch)[1] == pytest.approx(total / 32, abs=1e-5)


@pytest.mark.parametrize("rule", [Mixup(shape=2.0), CutMix()])
def test_mixed_inputs_come_with_labels_that_are_mixed_alike(rule):
    """Inputs are constant, and that constant is their class: of a mixture it is the mean of the label."""

    class Constant(Unfiled):
        grid = (2, 2)

        def __len__(self):
            return 4

        def inputs(self, numbers, views):
            return Inputs(torch.tensor(numbers).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8))

        def configuration(self):
            return {}

    data = LabelledSamples(Constant(), torch.arange(4))
    made = FineTuneTask(classifier(), data, data, replace(PLAIN, batch=40, mixing=(rule,), mixed=0.5))
    batch = batch_of(made)
    assert torch.allclose(batch.targets.sum(1), torch.ones(40))
    assert torch.allclose(batch.targets @ torch.arange(4.0), batch.inputs.values.mean((1, 2, 3)), atol=1e-5)
    changed = (batch.targets.max(1).values < 1).sum()
    assert 5 <= int(changed) <= 25
    assert not (batch_of(FineTuneTask(classifier(), data, data, replace(made.config, mixed=0.0))).targets % 1).any()


def test_padding_of_mixtures_is_what_is_padding_in_both():
    class Padded(Unfiled):
        grid = (2, 2)

        def __len__(self):
            return 2

        def inputs(self, numbers, views):
            valid = torch.tensor([[True, False, False, False], [False, True, False, False]])
            return Inputs(torch.ones(len(numbers), 1, 8, 8), valid[list(numbers)])

        def configuration(self):
            return {}

    data = LabelledSamples(Padded(), torch.arange(2))
    made = FineTuneTask(classifier(), data, data, replace(PLAIN, batch=2, mixing=(Mixup(),), mixed=1.0))
    assert batch_of(made).inputs.valid.tolist() == [[True, True, False, False]] * 2
    with pytest.raises(ValueError, match="padding"):
        batch_of(FineTuneTask(classifier(), data, data, replace(made.config, mixing=(CutMix(),))))


def test_spec_augment_changes_inputs_of_training_alone():
    plain, masked = task(), task(replace(PLAIN, spec_augment=SpecAugment(time=3, bins=3)))
    first, second = batch_of(plain).inputs.values, batch_of(masked).inputs.values
    assert not torch.equal(first, second)
    for one, other in zip(first, second, strict=True):
        assert torch.allclose(other[one != other], one.mean(), atol=1e-5)
    plain.eval(), masked.eval()
    with torch.no_grad():
        assert plain.validate() == masked.validate()


def test_recordings_come_with_new_views_every_epoch_and_are_mixed_and_masked(tmp_path):
    for number in range(4):
        write(tmp_path / f"{number}.wav", signal(1500 + 1500 * number, 1, 16000, seed=number), 16000)
    statistics = MelStatistics(mean=-4.0, deviation=3.0)
    front_end = AudioFrontEnd(sample=AudioSampleConfig(frames=20, mel=MelConfig(bins=8)), statistics=statistics)
    listing, labels = list_audio(tmp_path), torch.arange(4)
    whole = LabelledSamples(front_end.samples(listing, (5, 4)), labels)
    views = LabelledSamples(front_end.samples(listing, (5, 4), augment=(RollTime(), BetaGain())), labels)
    vit = replace(TINY, size=(20, 8), patch=(5, 4))
    config = replace(ALL, batch=4, views=5, sampling=None, mixing=(MelLabelMixup(statistics=statistics),), mixed=1.0)

    def made(**changes):
        network = Classifier(vit, CLASSES, front_end=front_end)
        return FineTuneTask(network, views, whole, replace(config, **changes))

    plain = made(mixing=(), spec_augment=None)
    epochs = [batch_of(plain, number) for number in range(2)]
    for label in labels.tolist():
        one, other = (batch.inputs.values[batch.targets.argmax(1) == label] for batch in epochs)
        assert not torch.equal(one, other)
    task = made()
    assert torch.allclose(batch_of(task).targets.sum(1), torch.ones(4))
    assert float(batch_of(task).targets.max()) < 1
    train(task, replace(LOOP, steps=3))
    assert 0 <= evaluate(task.classifier, *whole).top1 <= 1


def test_masked_patches_are_left_out_in_training_alone():
    made = task(replace(PLAIN, mask=RandomMask(0.25)))
    (_, visible, _), _ = seen(made)
    assert visible.shape == (8, 3) and len({tuple(row) for row in visible.tolist()}) > 1
    calls = []
    made.eval().classifier.network.register_forward_pre_hook(lambda _, given: calls.append(given))
    with torch.no_grad():
        made.validate()
    assert all(given[1] is None for given in calls)
    assert seen(task())[0][1] is None


def test_the_weighted_sampler_draws_rare_classes_as_often():
    images, _ = quarter_samples(40)
    labels = torch.tensor([0] * 37 + [1, 2, 3])
    data = LabelledSamples(images, labels)
    config = replace(PLAIN, batch=40, sampling=WeightedSampling(replacement=True, epoch=80))
    made = FineTuneTask(classifier(), data, data, config)
    counts = sum(batch_of(made, number).targets.sum(0) for number in range(20)) / 800
    assert torch.allclose(counts, torch.full((4,), 0.25), atol=0.06)
    assert (made.epoch, FineTuneTask(classifier(), data, data, PLAIN).epoch) == (80, 40)


def test_a_batch_is_a_function_of_its_number_and_ranks_share_it():
    made, other = task(ALL), task(ALL)
    order = [5, 0, 3]
    found = {number: batch_of(made, number) for number in order}
    for number in sorted(order):
        whole = batch_of(other, number)
        assert torch.equal(found[number].inputs.values, whole.inputs.values)
        parts = [batch_of(other, number, rank, 2) for rank in range(2)]
        assert torch.equal(torch.cat([part.inputs.values for part in parts]), whole.inputs.values)
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert not torch.equal(found[0].inputs.values, batch_of(task(replace(ALL, seed=1))).inputs.values)


@pytest.mark.parametrize("several", [False, True])
def test_a_stopped_run_goes_on_to_the_same_numbers(several, tmp_path):
    config = replace(ALL, loss="bce" if several else "ce")
    whole, again = task(config, several), task(config, several)
    train(whole, LOOP, tmp_path / "whole")
    train(task(config, several), replace(LOOP, steps=3), tmp_path / "parts")
    train(again, LOOP, tmp_path / "parts")
    first, second = (
        [line["loss"] for line in read_log(tmp_path / name / LOG) if line["group"] == "train"]
        for name in ("whole", "parts")
    )
    assert first == second and len(first) == 6
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_setting_is_part_of_what_a_checkpoint_goes_on_under():
    names = {field.name for field in fields(FineTuneConfig)}
    settings = task(ALL).settings()
    assert names <= set(settings)
    json.dumps(settings)


@pytest.mark.parametrize(("pooling", "rate", "steps"), [("mean", 3e-3, 50), ("attentive", 1e-3, 100)])
def test_it_learns_and_test_figures_say_so(pooling, rate, steps):
    made = task(replace(PLAIN, learning_rate=rate, smoothing=0.1), pooling=pooling)
    train(made, replace(LOOP, steps=steps, validate_every=25))
    images, labels = quarter_samples(40, 7)
    found = evaluate(made.classifier, images, labels, batch=16)
    assert found.top1 >= 0.8
    samples, held = made.validation
    with torch.no_grad():
        assert made.validate()["accuracy"] == evaluate(made.classifier, samples, held).top1


def test_validation_of_several_classes_names_average_precision():
    made = task(replace(PLAIN, loss="bce"), several=True).eval()
    with torch.no_grad():
        found = made.validate()
    assert set(found) == {"loss", "mean_average_precision"}
    assert found["loss"] == pytest.approx(math.log(2), abs=1e-3)


def test_a_classifier_starts_from_a_network_and_has_its_own_copy():
    torch.manual_seed(1)
    network = VisionTransformer(TINY)
    torch.nn.init.normal_(network.transformer.norm.weight)
    made = Classifier.on(network, CLASSES)
    x = torch.randn(3, 1, 8, 8)
    states = network(x, hidden=True).hidden[-1]
    assert torch.allclose(made.network(x).tokens, states, atol=TOLERANCE)
    assert torch.equal(made.norm.weight, torch.ones(32))
    assert torch.equal(Classifier.on(network, CLASSES, pooling="cls").norm.weight, network.transformer.norm.weight)
    torch.nn.init.zeros_(made.network.embed.linear.weight)
    assert network.embed.linear.weight.any()
    assert 0 < float(made.head.weight.detach().std()) < 4e-5


def test_a_classifier_is_saved_with_its_names_and_its_front_end(tmp_path):
    front_end = ImageFrontEnd(channels=1, height=8, width=8, mean=(0.5,), deviation=(0.2,))
    made = classifier(pooling="attentive", front_end=front_end).eval()
    torch.nn.init.normal_(made.head.weight)
    made.save_pretrained(tmp_path)
    read = Classifier.from_pretrained(tmp_path)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(made(x), read(x)) and not read.training
    assert (read.classes, read.front_end, read.pooling) == (CLASSES, front_end, "attentive")
    config = json.loads((tmp_path / "config.json").read_text())
    config["classifier"]["front_end"]["mean"] = [0.4]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="a front end of fingerprint"):
        Classifier.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="classifier"):
        Classifier.from_pretrained(tmp_path)


def test_what_does_not_fit_is_refused():
    images, labels = quarter_samples(8)
    good = LabelledSamples(images, labels)
    for bad, config, words in (
        (LabelledSamples(images, labels[:7]), PLAIN, "one for each"),
        (LabelledSamples(images, labels + 1), PLAIN, "numbered 0 to 3"),
        (LabelledSamples(images, flags(labels)), PLAIN, "bce"),
    ):
        with pytest.raises(ValueError, match=words):
            FineTuneTask(classifier(), bad, good, config)
    for wrong in ({"smoothing": 1.1}, {"mixed": -0.1}, {"layer_decay": 0.0}):
        with pytest.raises(ValueError, match="FineTuneConfig"):
            replace(PLAIN, **wrong)
    with pytest.raises(ValueError, match="names of its classes"):
        Classifier(TINY, ())
    with pytest.raises(ValueError, match="front end"):
        classifier(front_end=ImageFrontEnd())
