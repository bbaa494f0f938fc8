"""One self-contained HTML page: headings, paragraphs, tables and figures, nothing fetched."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codeword import __version__
from codeword.formats.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --page: #ffffff; --panel: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #343c48; --page: #14181f; --panel: #1c222b; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 44rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
.wide { overflow-x: auto; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.best td { font-weight: 600; }
figure { margin: 1.25rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 4px; }
"""


class Page:
    """A page that grows from top to bottom and is written once.

    Args:
        title: The heading.
        subtitle: One sentence under it.
    """

    def __init__(self, title: str, subtitle: str):
        self._title = html.escape(title)
        self._parts = [f"<h1>{self._title}</h1>", f'<p class="soft">{html.escape(subtitle)}</p>']

    def heading(self, text: str) -> None:
        """A section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Plain text."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

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

    def write(self, path: Path) -> None:
        """Write the page."""
        body = "\n".join(self._parts)
        page = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{self._title}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style></head>\n'
            f'<body><main>\n{body}\n<p class="soft">codeword {__version__}</p>\n</main></body></html>\n'
        )
        with atomic_write(path) as file:
            file.write(page.encode())
