"""A page as a stranger's parser reads it."""

from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Checks that what opens is closed in order; collects links, text, and tags."""

    def __init__(self, path):
        super().__init__()
        self.open, self.links, self.text, self.tags = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "poster", "srcset", "data")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)
