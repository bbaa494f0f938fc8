import codeword

project = "codeword"
author = "The codeword authors"
copyright = "2026, the codeword authors"  # noqa: A001
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
exclude_patterns = ["_build"]
doctest_global_setup = "import torch; import codeword; _ = torch.manual_seed(0)"
