import os
import subprocess
import sys
from pathlib import Path

import codeword

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
autodoc_member_order = "bysource"
exclude_patterns = ["_build", "_generated"]
doctest_global_setup = "import torch; import codeword; _ = torch.manual_seed(0)"


def _command_line_help() -> None:
    """Write the help of every verb where command_line.md includes it."""
    verbs = ["train", "encode", "decode", "index", "search", "evaluate", "inspect", "complexity", "demo"]
    parts = []
    for verb in verbs:
        command = [sys.executable, "-m", "codeword", *verb.split(), "--help"]
        plain = os.environ | {"NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
        text = subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout
        parts.append(f"## `codeword {verb}`\n\n```text\n{text.strip()}\n```\n")
    folder = Path(__file__).parent / "_generated"
    folder.mkdir(exist_ok=True)
    (folder / "help.md").write_text("\n".join(parts))


_command_line_help()
