"""Reports of tokens on samples, and pictures whose colours are those of the codes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from codeword.evaluation.tokens import TokenizedSamples, evaluate_tokens, tokenized, write_reports
from codeword.evaluation.tokens_figures import token_figure, usage_figure
from codeword.metrics.tokens import TokenCounts
from contracts.pretraining import SIZES, cold, samples


def panels(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


def image(axis):
    return np.asarray(axis.images[0].get_array())


def report(codes, sizes):
    counts = TokenCounts(sizes, codes.shape[1])
    counts.add(codes)
    return counts.report()


def test_a_report_is_that_of_all_tokens_and_becomes_json(tmp_path):
    tokenizer, data, told = cold(), samples(30), []
    found = evaluate_tokens(tokenizer, data, batch=8, progress=lambda *now: told.append(now))
    assert told == [(8, 30), (16, 30), (24, 30), (30, 30)]
    whole = report(tokenizer.encode(data.inputs(range(30), [0] * 30).values), SIZES)
    assert found == whole
    single = replace(found, places=(replace(found.places[0], guessed=math.nan), *found.places[1:]))
    write_reports({"one": found, "two": single}, tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())
    assert list(read) == ["one", "two"]
    assert read["one"]["codes"]["levels"][1]["perplexity"] == found.codes.levels[1].perplexity
    assert read["one"]["histograms"] == [list(counts) for counts in found.histograms]
    assert read["two"]["places"][0]["guessed"] is None


def test_usage_is_drawn_by_report_and_level_the_most_frequent_first():
    uneven = torch.tensor([0, 0, 1, 0, 0, 1, 3, 3]).reshape(4, 2, 1).expand(4, 2, 2)
    figure = usage_figure({"first": report(uneven, (4, 4)), "second": report(uneven[..., :1], (4,))})
    axes = panels(figure)
    assert len(axes) == 3
    assert [axis.get_ylabel() for axis in axes] == ["first", "", "second"]
    assert [axis.get_title() for axis in axes] == ["level 1", "level 2", ""]
    heights = axes[0].patches[0].get_data().values
    assert heights == pytest.approx([4 * 4 / 8, 2 * 4 / 8, 2 * 4 / 8, 0.01])
    assert "used 75.0%\nperplexity 70.7%" in axes[0].texts[0].get_text()
    assert axes[0].get_ylim()[1] > 2


def shown(size, grid, codes, channels=1):
    values = torch.linspace(0, 1, math.prod(size)).reshape(1, 1, *size).expand(1, channels, *size)
    return TokenizedSamples(values, torch.tensor(codes).reshape(1, -1, 1), grid)


def colours_of_patches(picture, rows, columns):
    """The colour of every patch as its mean over red, green and blue less grey: what tells tints apart."""
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    parts = picture.reshape(rows, height, columns, width, 3).mean((1, 3))
    return parts - parts.mean(-1, keepdims=True)


def same(tints, first, second):
    return np.allclose(tints[first], tints[second], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_of_an_image_share_a_colour_if_they_share_a_code(channels):
    figure = token_figure(shown((8, 12), (2, 3), [5, 5, 1, 1, 7, -1], channels), "image")
    left, right = panels(figure)
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("input", "level 1: 3 codes in 5 patches")
    assert image(left).shape == (8, 12, 3)
    tints = colours_of_patches(image(right), 2, 3)
    assert same(tints, (0, 0), (0, 1))
    assert same(tints, (0, 2), (1, 0))
    assert not same(tints, (0, 0), (0, 2))
    for alone in ((1, 1), (1, 2)):  # a code that nothing shares, and padding: grey
        assert np.allclose(tints[alone], 0, atol=1e-6)


def test_time_goes_to_the_right_and_frequency_upwards_in_a_log_mel():
    codes = [3, 0, 3, 1, 3, 2, 4, 4]  # time by frequency, 4 x 2: the lower band is 3 3 3 4
    picture, level = panels(token_figure(shown((16, 4), (4, 2), codes), "audio"))
    assert image(picture).shape == (4, 16, 3)
    assert image(picture).mean((0, 2)).argmax() == 15  # values rise with time
    tints = colours_of_patches(image(level), 2, 4)
    assert same(tints, (1, 0), (1, 2))
    assert same(tints, (0, 3), (1, 3))
    assert not same(tints, (1, 0), (1, 3))
    assert np.allclose(tints[0, :3], 0, atol=1e-6)


def test_frames_of_a_video_stand_side_by_side():
    codes = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 10], [12, 13], [0, 1]]
    picture, level = panels(token_figure(shown((16, 2, 4), (8, 1, 2), codes, 3), "video"))
    assert image(picture).shape == (2, 16, 3)  # of 8 patches in time the places 0, 2, 5 and 7
    assert len(picture.lines) == 3
    tints = colours_of_patches(image(level), 1, 8)
    assert same(tints, (0, 0), (0, 6))
    assert same(tints, (0, 4), (0, 5))
    assert np.allclose(tints[0, 2:4], 0, atol=1e-6)


def test_several_inputs_and_levels_have_a_panel_each():
    tokenizer, data = cold(), samples(5)
    some = tokenized(tokenizer, data, [3, 0])
    assert torch.equal(some.codes, tokenizer.encode(data.inputs([3, 0], [0, 0]).values))
    assert len(panels(token_figure(some, "image"))) == 2 * (1 + len(SIZES))
