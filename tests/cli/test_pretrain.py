"""``codeword pretrain``, ``probe``, ``extract``, ``tokens``, ``finetune`` and ``evaluate``, on a few pictures."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from codeword.pretraining.encoder import Encoder
from codeword.recipes import finetuning
from codeword.training.logging import read_log
from contracts.media import save_picture
from contracts.ranks import as_torchrun


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pictures of two classes and an encoder that was trained on them."""
    from codeword.cli import main

    place = tmp_path_factory.mktemp("pretrained")
    for number in range(40):
        save_picture(place / "pictures" / "ab"[number % 2] / f"{number}.png", number)
    main(f"pretrain smoke-image --data {place}/pictures --out {place}/encoder --epochs 1".split())
    return place


def test_an_encoder_is_written_with_all_that_belongs_to_it(trained):
    encoder = Encoder.from_pretrained(trained / "encoder")
    assert encoder.front_end.size == (32, 32)
    names = {str(path.relative_to(trained / "encoder")) for path in (trained / "encoder").rglob("*.json*")}
    assert names >= {
        "config.json",
        "tokenizer/config.json",
        "iterations/1/encoder.jsonl",
        "iterations/2/tokenizer.jsonl",
    }
    last = Encoder.from_pretrained(trained / "encoder" / "iterations" / "2").state_dict()
    assert all(value.equal(last[name]) for name, value in encoder.state_dict().items())
    assert not (trained / "encoder.resume").exists()


def test_a_probe_names_figures_of_both_encoders(run, place, trained):
    ran = run(f"probe {trained}/encoder {trained}/pictures --methods linear knn attentive --out probe.json")
    assert (ran.code, ran.err) == (0, "")
    assert "40 items of 2 classes; test items drawn (20%), validation items drawn (15%)" in ran.out
    rows = json.loads((place / "probe.json").read_text())["rows"]
    assert [f"{row['figure']:.4f}" for row in rows] == [line.split()[2] for line in ran.out.splitlines()[2:]]
    lines = [line.split() for line in ran.out.splitlines()[2:]]
    assert [(line[0], line[1]) for line in lines] == [
        (encoder, method) for encoder in ("pretrained", "random") for method in ("linear", "knn", "attentive")
    ]


def test_embeddings_are_those_of_the_encoder(run, place, trained):
    ran = run(f"extract {trained}/encoder {trained}/pictures --out rows.npy --layer 0 --no-norm")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "rows.npy: 40 x 32, block 0, mean of patches, without the last norm\n"
    encoder = Encoder.from_pretrained(trained / "encoder")
    rows = np.load(place / "rows.npy")
    named = (place / "rows.csv").read_text().splitlines()
    assert len(named) == 41
    from codeword.data.image_listings import list_images

    listing = list_images(trained / "pictures")
    samples = encoder.front_end.samples(listing, encoder.config.patch)
    wanted = encoder.extract(samples.inputs([7], [0]), 0, pooling="mean", norm=False)
    np.testing.assert_allclose(rows[7], wanted[0].numpy(), atol=1e-5)
    assert named[8].split(",")[0] == str(listing.items[7].path)
    assert run(f"extract {trained}/encoder {trained}/pictures --out rows.parquet").code == 0
    table = pq.read_table(place / "rows.parquet")
    assert table.num_rows == 40
    assert len(table["embedding"][0]) == 32
    assert table["labels"][7].as_py() == listing.items[7].labels[0]
    ran = run(f"extract {trained}/encoder {trained}/pictures --out all.npy --pooling none")
    assert ran.out == "all.npy: 40 x 64 x 32, block -1, every patch, after the last norm\n"
    assert np.load(place / "all.npy").shape == (40, 64, 32)


def test_a_classifier_is_trained_and_tested(run, place, trained):
    ran = run(f"finetune small {trained}/encoder --data {trained}/pictures --out judge --epochs 2 --batch 8")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[2].startswith("test")
    ran = run(f"evaluate classifier judge {trained}/pictures --split=")
    assert (ran.code, ran.err) == (0, "")
    assert float(ran.out.splitlines()[1].split()[1]) >= 0.4
    assert "classes: 2: a, b" in run("inspect judge").out


def test_folders_of_encoders_and_tokenizers_are_inspected(run, trained):
    ran = run(f"inspect {trained}/encoder")
    assert (ran.code, ran.err) == (0, "")
    assert f"{trained}/encoder: encoder of image" in ran.out
    assert "inputs: 3 x 32 x 32, in 8 x 8 patches of 4 x 4" in ran.out
    assert "iterations: 1, 2" in ran.out
    ran = run(f"inspect {trained}/encoder/tokenizer")
    assert "made by: TrainedTokenizer, of patches of 4 x 4" in ran.out
    assert "codebooks: 16, 16, 16, 16, of 16 features" in ran.out


def test_tokens_of_the_encoder_are_written_and_judged(run, place, trained):
    ran = run(f"tokens {trained}/encoder {trained}/pictures --out tokens")
    assert (ran.code, ran.err) == (0, "")
    assert "tokens of 40 items in 1 shards" in ran.out
    ran = run(f"evaluate tokens {trained}/encoder {trained}/pictures --out report.json")
    assert (ran.code, ran.err) == (0, "")
    assert (place / "report.json").is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("finetune esc50 {0}/encoder --data {0}/pictures --dry-run", "for audio, and the encoder for image: take imag"),
        ("pretrain smoke-image --data {0}/pictures", "where to? give --out MODEL, or --dry-run"),
        ("pretrain smoke-image --data gone --out x", "gone does not exist"),
        ("pretrain smoke-audio --data {0}/pictures --out x", "pictures"),
        ("pretrain smoke-image --data {0}/pictures --out {0}/encoder", "exists already"),
        ("pretrain small --data {0}/pictures --out x", "smoke-image"),
        ("pretrain smoke-image --data {0}/pictures/a/0.png --out x", "1 image items are too few"),
        ("pretrain smoke-image --data {0}/pictures --out x --epochs -1", "epochs must be above 0, got -1"),
        ("pretrain smoke-image --data {0}/pictures --out x --iterations 0", "iterations must be at least 1, got 0"),
        ("pretrain smoke-image --data {0}/pictures --out x --batch 0", "batch must be at least 1, got 0"),
        ("pretrain smoke-image --data {0}/pictures --out x --learning-rate -1", "learning_rate must be above 0"),
        ("pretrain smoke-image --data {0}/pictures --out x --views -1", "views must be at least 0, got -1"),
        ("pretrain smoke-image --data {0}/pictures --out x --codebooks -1", "codebooks must be at least 1, got -1"),
        ("pretrain smoke-image --data {0}/pictures --out x --codebook-size 0", "codebook_size must be at least 1"),
        ("pretrain smoke-image --data {0}/pictures --out x --workers -1", "threads that read files, 0 or more: got -1"),
        ("probe {0}/encoder {0}/pictures --few 2", "a share is above 0 and at most 1, got 2.0"),
        ("probe {0}/encoder {0}/pictures --methods", "a probe needs a method"),
        ("probe {0}/pictures {0}/pictures", "is no encoder: it has no config.json"),
        ("probe {0}/encoder {0}/pictures/a", "labels of two classes at least are needed"),
        ("probe {0}/encoder {0}/pictures --layer 7", "layer 7 does not exist: the network has 2, 0 to 1 or -2 to -1"),
        ("extract {0}/encoder {0}/pictures --out rows.txt", ".npy or .parquet files, got rows.txt"),
        ("extract {0}/encoder {0}/pictures --out rows.parquet --pooling none", "one vector for every item"),
        ("finetune small {0}/encoder --data {0}/pictures", "where to? give --out CLASSIFIER, or --dry-run"),
        *(
            (f"finetune small {{0}}/encoder --data {{0}}/pictures --out x --{words}", message)
            for words, message in (
                ("batch -1", "batch of a FineTuneConfig must be at least 1, got -1"),
                ("batch 0", "batch of a FineTuneConfig must be at least 1, got 0"),
                ("learning-rate -1", "learning_rate of a FineTuneConfig must be above 0, got -1.0"),
                ("epochs 0", "epochs of a FineTuneRecipe must be above 0, got 0.0"),
                ("layer-decay 2", "layer_decay of a FineTuneConfig is above 0 and at most 1, got 2.0"),
                ("accumulate 0", "accumulate of a LoopConfig must be at least 1, got 0"),
            )
        ),
        ("evaluate classifier {0}/encoder {0}/pictures", "does not describe a codeword classifier"),
    ],
)
def test_mistakes_are_answered_in_one_line(run, trained, place, line, message):
    before = set(place.iterdir())
    ran = run(line.format(trained))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert set(place.iterdir()) == before


def test_a_bad_picture_is_left_out_and_told(run, trained, place):
    for number in range(6):
        save_picture(place / "few" / f"{number}.png", number)
    (place / "few" / "bad.png").write_bytes(b"no image")
    ran = run("pretrain smoke-image --data few --out few-encoder --epochs 1 --iterations 1")
    assert ran.code == 0
    assert "left out: few/bad.png is damaged or no image" in ran.out
    ran = run(f"extract {trained}/encoder few --out few.npy")
    assert ran.code == 2
    assert "1 files of few cannot be used, see above; the others are written" in ran.err
    assert np.load(place / "few.npy").shape == (6, 32)
    ran = run(f"evaluate tokens {trained}/encoder few")
    assert ran.code == 2
    assert "tokens of 6 samples" in ran.out
    assert "1 files of few cannot be used, see above; the others are counted" in ran.err


def test_a_probe_tells_how_many_pictures_it_left_out(run, trained, place):
    for number in range(20):
        save_picture(place / "some" / "ab"[number % 2] / f"{number}.png", number)
    (place / "some" / "a" / "bad.png").write_bytes(b"no image")
    ran = run(f"probe {trained}/encoder some --methods knn")
    assert (ran.code, ran.err) == (0, "")
    assert "20 items of 2 classes, 1 left out that cannot be read; " in ran.out


@pytest.mark.parametrize(
    "line",
    [
        "probe {0}/encoder bad --out made.json",
        "extract {0}/encoder bad --out made.npy",
        "tokens {0}/encoder bad --out made",
        "evaluate tokens {0}/encoder bad --out made.json",
    ],
)
def test_where_nothing_can_be_read_a_reason_is_told_and_nothing_is_written(run, trained, place, line):
    for number in range(2):
        (place / "bad" / "ab"[number]).mkdir(parents=True)
        (place / "bad" / "ab"[number] / f"{number}.png").write_bytes(b"no image")
    before = set(place.iterdir())
    ran = run(line.format(trained))
    assert (ran.code, ran.out) == (2, "")
    assert "image items can be read: bad/a/0.png" in ran.err
    assert "0.png is damaged or no image" in ran.err
    assert set(place.iterdir()) == before


def test_two_processes_write_one_encoder(run, place):
    for number in range(20):
        save_picture(place / "pictures" / f"{number}.png", number)
    line = "pretrain smoke-image --data pictures --epochs 1 --batch 8 --out"
    program = place / "program.py"
    program.write_text("from codeword.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    as_torchrun(program, *line.split(), "two")
    assert run(f"{line} one").code == 0
    logs = [read_log(place / name / "iterations" / "2" / "encoder.jsonl") for name in ("one", "two")]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    assert Encoder.from_pretrained(place / "two").config == Encoder.from_pretrained(place / "one").config
    assert not (place / "two.resume").exists()


@pytest.fixture
def folds(trained, place):
    """A table that divides the pictures into three folds."""
    pictures = [(f"{trained}/pictures/{'ab'[n % 2]}/{n}.png", "ab"[n % 2], f"fold{1 + n // 2 % 3}") for n in range(40)]
    (place / "folds.csv").write_text("path,label,split\n" + "".join(",".join(row) + "\n" for row in pictures))
    return f"finetune small {trained}/encoder --data folds.csv --epochs 1 --batch 8 --tensorboard --out"


def test_interrupted_folds_go_on_with_the_same_figures(run, place, folds, monkeypatch):
    whole = run(f"{folds} complete")
    assert (whole.code, whole.err) == (0, "")
    assert {path.parent.name for path in (place / "complete").glob("*/config.json")} == {"fold1", "fold2", "fold3"}
    assert (place / "complete" / "fold2" / "log.jsonl").is_file()
    assert any((place / "complete" / "fold2" / "tensorboard" / "log").iterdir())
    assert not (place / "complete.resume").exists()
    trained_folds = []
    real = finetuning.run

    def stopping(task, loop, folder, **options):
        trained_folds.append(folder.name)
        if trained_folds == ["fold1", "fold2"]:
            raise KeyboardInterrupt
        return real(task, loop, folder, **options)

    monkeypatch.setattr(finetuning, "run", stopping)
    stopped = run(f"{folds} part")
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    other = run(f"{folds} part --learning-rate 0.5")
    assert other.code == 2
    assert "part.resume holds an interrupted run with another config learning_rate (0.001, now 0.5)" in other.err
    again = run(f"{folds} part")
    assert (again.code, again.err) == (0, "")
    assert trained_folds == ["fold1", "fold2", "fold2", "fold3"]
    assert again.out.replace("part", "complete") == whole.out
    refused = run(f"{folds} part")
    assert refused.code == 2
    assert "part exists already: choose another name, or pass --overwrite" in refused.err
    assert run(f"{folds} part --overwrite").code == 0
    assert trained_folds[4:] == ["fold1", "fold2", "fold3"]


def test_bad_pictures_are_told_by_finetune_and_evaluate(run, trained, place):
    for number in range(24):
        save_picture(place / "some" / "ab"[number % 2] / f"{number}.png", number)
    (place / "some" / "a" / "bad.png").write_bytes(b"no image")
    ran = run(f"finetune small {trained}/encoder --data some --epochs 1 --batch 8 --out judge")
    assert ran.code == 0
    assert "left out: some/a/bad.png is damaged" in ran.out
    ran = run("evaluate classifier judge some --split=")
    assert ran.code == 2
    assert "1 files of some cannot be used, see above; the others are judged" in ran.err
    assert ran.out.splitlines()[1].startswith("all")
    ran = run("evaluate classifier judge some")
    assert "no item of split test: the data names none, so ask for ''" in ran.err


def test_pretraining_holds_back_others_where_those_for_validation_are_bad(run, place):
    for number in range(12):
        save_picture(place / "pictures" / "train" / f"{number}.png", number)
    (place / "pictures" / "val").mkdir()
    (place / "pictures" / "val" / "bad.png").write_bytes(b"no image")
    ran = run("pretrain smoke-image --data pictures --out encoder --epochs 1 --iterations 1 --dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert " 0 to validate on" not in ran.out
    assert "bad.png" in ran.out


def test_classes_missing_from_a_fold_are_told_by_a_probe(run, trained, place):
    rows = [f"{trained}/pictures/{'ab'[n % 2]}/{n}.png,{'ab'[n % 2]},fold{1 + n % 3 % 2}" for n in range(30)]
    rows += [f"{trained}/pictures/a/{n}.png,rare,fold1" for n in (30, 32, 34)]
    rows += [f"{trained}/pictures/b/{n}.png,b,fold3" for n in (31, 33, 35)]
    (place / "table.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    ran = run(f"probe {trained}/encoder table.csv --methods knn --out probe.json")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split(":")[0].strip() for line in ran.out.splitlines() if "no item" in line] == ["fold2", "fold3"]
    assert "fold2: 1 of 3 classes have no item in this set, no mean has them: rare" in ran.out
    record = json.loads((place / "probe.json").read_text())
    assert (record["classes"], record["folds"]) == (["a", "b", "rare"], ["fold1", "fold2", "fold3"])
    row = record["rows"][0]
    assert [len(fold["missing"]) for fold in row["test"]] == [0, 1, 2]
    assert row["figure"] == pytest.approx(sum(fold["top1"] for fold in row["test"]) / 3)
