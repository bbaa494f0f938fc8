import os
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

import codeword
from codeword.cli.parsing import VERBS

project = "codeword"
author = "The codeword authors"
copyright = "2026, the codeword authors"
release = version = codeword.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"codeword {version}"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # a contract is described once, in its base class
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes are no targets of their own: one called bytes would catch every bytes
napoleon_attr_annotations = False  # the signature has the types; shape strings are no markup
napoleon_custom_sections = [("Buffers", "params_style")]
nitpicky = True  # functions and methods that docstrings name must exist; types of signatures need no page here
nitpick_ignore_regex = [("py:class", ".*"), ("py:obj", r"typing\..*")]
exclude_patterns = ["_build", "_generated"]
doctest_global_setup = "import torch; import codeword; _ = torch.manual_seed(0)"


def _help(*words: str) -> str:
    command = [sys.executable, "-m", "codeword", *words, "--help"]
    plain = os.environ | {"NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, check=True, env=plain, encoding="utf-8").stdout


def _command_line_help() -> None:
    """Write the help of every verb where command_line.md includes it: made in every build, it is never out of date."""
    parts = [f"## `codeword {verb}`\n\n```text\n{_help(*verb.split()).strip()}\n```\n" for verb in VERBS]
    folder = Path(__file__).parent / "_generated"
    folder.mkdir(exist_ok=True)
    (folder / "help.md").write_text("\n".join(parts), encoding="utf-8")


def _skip(_app: Sphinx, _what: str, _name: str, member: object, _skipped: bool, _options: object) -> bool | None:
    """Leave out the fields of NamedTuples: the section Attributes of the class describes them already."""
    return True if type(member).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", _skip)


_command_line_help()
