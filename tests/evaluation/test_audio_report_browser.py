"""Reports in a real browser: every element loads, nothing is fetched, nothing plays, a phone shows it all."""

from functools import partial

import pytest
import torch

from codeword.evaluation.toy import toy_codebooks
from codeword.metrics.retrieval import Recall
from codeword.recipes import demo
from headless import need_browser

LATE = 0.01  # seconds that a browser may read a length wrong
WIDTHS = {"desk": 1200, "phone": 390}
BROKEN = """<!doctype html><meta name="viewport" content="width=device-width"><title>broken</title>
<img src="gone.png"><audio preload="metadata" src="data:audio/flac;base64,AAAA"></audio>
<div style="width: 2000px">wide</div><script src="https://example.org/a.js"></script>
<script>console.error("told"); setTimeout(() => { throw new Error("thrown"); }, 0);</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with need_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(reported, tmp_path_factory):
    """The report of an audio model, and that of the demo on made-up numbers."""
    hits, usage = Recall((1, 10), torch.tensor([[True, True], [False, True]])), (0.9, 0.8)
    rows = [
        demo.Row("words & <sets>", method, levels, 0.5 / levels, 0.6 / levels, hits, 1e5, usage)
        for method in ("product", "residual", "faiss PQ")
        for levels in demo.LEVELS
    ]
    path = tmp_path_factory.mktemp("vectors") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "toy_codebooks", partial(toy_codebooks, 4, 1))
        demo._report(rows, path)
    return {"audio": reported.path, "vectors": path}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", ["audio", "vectors"])
def test_everything_loads_and_nothing_else(browser, pages, name, width):
    seen = browser.look(pages[name], width=width)
    assert seen.problems == []
    assert seen.requests == [pages[name].as_uri()]
    assert seen.images
    assert min(seen.images) > 0
    assert (seen.width, seen.content, seen.beyond) == (width, width, [])


def test_every_player_is_ready_and_as_long_as_its_excerpt_and_silent(browser, reported):
    seen = browser.look(reported.path)
    clips = len(reported.evaluation.clips)
    assert len(seen.players) % clips == 0
    assert len(seen.players) > 4 * clips
    for player in seen.players:
        assert player["ready"] >= 1, player
        assert not player["moved"], player
        assert player["duration"] == pytest.approx(6.0, abs=LATE)


def test_a_line_follows_the_sound(browser, reported):
    browser.look(reported.path)
    left, shown = browser.evaluate(
        """new Promise(resolve => {
          const take = document.querySelector(".take"), player = take.querySelector("audio");
          player.addEventListener("seeked", () => setTimeout(() => {
            const line = take.querySelector("i").getBoundingClientRect();
            const picture = take.querySelector("img").getBoundingClientRect();
            resolve([(line.x + line.width / 2 - picture.x) / picture.width,
                     getComputedStyle(take.querySelector("i")).visibility]);
          }));
          player.currentTime = player.duration / 4;
        })"""
    )
    assert left == pytest.approx(0.25, abs=0.005)
    assert shown == "visible"


def test_light_and_dark(browser, reported):
    ground, ink = "getComputedStyle(document.body).backgroundColor", "getComputedStyle(document.body).color"
    found = []
    for dark in (False, True):
        browser.look(reported.path, dark=dark)
        found.append([sum(map(int, browser.evaluate(colour)[4:-1].split(","))) for colour in (ground, ink)])
    (light_ground, light_ink), (dark_ground, dark_ink) = found
    assert light_ground - light_ink > 400
    assert dark_ink - dark_ground > 400


def test_what_is_broken_is_seen(browser, tmp_path):
    (tmp_path / "broken.html").write_text(BROKEN)
    seen = browser.look(tmp_path / "broken.html", width=WIDTHS["phone"])
    assert seen.images == [0]
    assert seen.players[0]["ready"] == 0
    assert [url.rpartition("/")[2] for url in seen.requests] == ["broken.html", "gone.png", "a.js"]
    assert seen.content > seen.width
    assert seen.beyond
    assert any("told" in problem for problem in seen.problems)
    assert any("thrown" in problem for problem in seen.problems)
