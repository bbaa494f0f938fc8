"""One self-contained HTML page: headings, paragraphs, tables, figures and fragments, nothing fetched."""

import base64
import html
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from codeword import __version__
from codeword.formats.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Page:
    """A page that grows from top to bottom and is written once.

    Args:
        title: The heading.
        subtitle: One sentence under it.
        assets: Names of style sheets and scripts in ``evaluation/assets`` that the page needs beside its own.
    """

    def __init__(self, title: str, subtitle: str, *, assets: Sequence[str] = ()):
        self._title, self._assets = html.escape(title), ("page.css", *assets)
        self._parts = [f"<h1>{self._title}</h1>", f'<p class="soft">{html.escape(subtitle)}</p>']

    def heading(self, text: str) -> None:
        """A section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Plain text."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def facts(self, pairs: Sequence[tuple[str, str]], *, wide: bool = False) -> None:
        """Names and values, side by side where there is room; or each over the whole width, for long ones."""
        items = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in pairs
        )
        self._parts.append(f'<dl class="facts{" wide-facts" if wide else ""}">{items}</dl>')

    def table(self, rows: Sequence[Sequence[str]], *, mark: Sequence[int] = ()) -> None:
        """Rows of text, the first a title; rows in ``mark`` stand out."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
        body = "".join(
            f"<tr{' class=best' if number in mark else ''}>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            for number, row in enumerate(rows[1:], 1)
        )
        self._parts.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def figure(self, figure: "Figure", caption: str) -> None:
        """A matplotlib figure, embedded as PNG at twice its size."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight")
        data, text = base64.b64encode(buffer.getvalue()).decode(), html.escape(caption)
        width = int(figure.get_figwidth() * 92)
        image = f'<img width="{width}" alt="{text}" src="data:image/png;base64,{data}">'
        self._parts.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")

    def fragment(self, markup: str) -> None:
        """HTML as it is: whoever makes it escapes names and closes what it opens."""
        self._parts.append(markup)

    def write(self, path: Path) -> None:
        """Write the page."""
        styles = "".join(_asset(name) for name in self._assets if name.endswith(".css"))
        scripts = "".join(f"<script>\n{_asset(name)}</script>\n" for name in self._assets if name.endswith(".js"))
        body = "\n".join(self._parts)
        page = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{self._title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
            f"<style>\n{styles}</style></head>\n"
            f'<body><main>\n{body}\n<p class="soft">codeword {__version__}</p>\n</main>\n{scripts}</body></html>\n'
        )
        with atomic_write(path) as file:
            file.write(page.encode())


def _asset(name: str) -> str:
    return (files("codeword.evaluation") / "assets" / name).read_text(encoding="utf-8")
