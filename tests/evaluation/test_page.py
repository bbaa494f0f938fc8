"""The page that all reports are."""

import matplotlib.pyplot as plt

from codeword.evaluation.page import Page
from evaluation.outline import Outline


def write(path, text):
    figure, axis = plt.subplots(figsize=(2, 1))
    axis.plot([0, 1])
    page = Page(text, text, assets=("players.css", "players.js"))
    page.heading(text)
    page.paragraph(text)
    page.facts([(text, text)])
    page.facts([(text, text)], wide=True)
    page.table([[text, text], [text, "1"]], mark=[1])
    page.figure(figure, text)
    page.fragment("<p>as it is</p>")
    page.write(path)
    plt.close(figure)
    return path


def test_every_text_is_escaped_and_every_tag_closed(tmp_path):
    text = "<script>alert('a & \"b\"')</script>"
    outline = Outline(write(tmp_path / "a.html", text))
    assert outline.tags.count("script") == 1
    assert sum(part == text for part in outline.text) == 13
    assert "as it is" in outline.text


def test_nothing_is_outside(tmp_path):
    path = write(tmp_path / "a.html", "plain")
    assert Outline(path).links
    assert all(link.startswith("data:") for link in Outline(path).links)
    assert "http" not in path.read_text(encoding="utf-8")
    assert "url(" not in path.read_text(encoding="utf-8")
    assert "@import" not in path.read_text(encoding="utf-8")


def test_the_same_content_is_the_same_bytes(tmp_path):
    assert write(tmp_path / "a.html", "plain").read_bytes() == write(tmp_path / "b.html", "plain").read_bytes()
