"""What the documentation shows runs, and what the code offers is documented."""

import ast
import doctest
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import torch
from benchmarks import tables

import codeword
from codeword.data.embedded import words
from codeword.data.vectors import write_vectors

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_" not in path.relative_to(ROOT / "docs").parts[0])
SOURCES = sorted((ROOT / "src" / "codeword").rglob("*.py"))
ARRAYS = {"Float", "Int", "Int64", "UInt64", "UInt8", "Bool", "Integer", "Num", "Shaped"}


def blocks(path, language):
    return re.findall(rf"```{re.escape(language)}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_tutorial_prints_what_it_says():
    """The other pages run with ``make docs``."""
    page = ROOT / "docs" / "tutorial.md"
    test = doctest.DocTestParser().get_doctest("\n".join(blocks(page, "{doctest}")), {}, page.name, str(page), 0)
    lines = []
    doctest.DocTestRunner().run(test, out=lines.append)
    assert test.examples
    assert not lines, "".join(lines)


def test_the_program_of_the_readme_runs():
    (program,) = blocks(ROOT / "README.md", "python")
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["codes"].shape == (512, 4)
    assert bool((names["codes"][:, 2:] == -1).all())


@pytest.mark.parametrize("name", ["README.md", "docs/command_line.md"])
def test_the_commands_run_one_after_the_other(name, tmp_path, monkeypatch, capsys):
    main = import_module("codeword.cli").main
    base, queries = words()
    for file, vectors in {"learn": base[:900], "base": base[:400], "queries": queries[:20]}.items():
        write_vectors(tmp_path / f"{file}.npy", [vectors], dim=50)
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks(ROOT / name, "sh") for line in re.split(r"\n|&&", block)]
    ran = set()
    for _, verb, *arguments in (shlex.split(line) for line in commands if line.strip().startswith("codeword ")):
        main(
            [verb, *(word for word in arguments if word != "--measure")]
        )  # measuring takes seconds, on a quiet machine
        ran.add(verb)
    assert ran >= {"train", "encode", "index", "search", "evaluate", "inspect"}
    assert "recall@10" in capsys.readouterr().out or name == "README.md"


def test_the_tables_are_what_the_results_say():
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page()
    assert tables.README.read_text(encoding="utf-8") == tables.introduction()


def documented():
    """What the directives of the reference take in, as objects."""
    found = []
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for kind, path, names in re.findall(r"\.\. auto(\w+):: ([\w.]+)(?:\n   :members:([^\n]*))?", text):
        if kind == "module":
            module = import_module(path)
            own = (name for name in vars(module) if not name.startswith("_"))
            chosen = [name.strip() for name in names.split(",")] if names.strip() else own
            found += [getattr(module, name) for name in chosen]
        else:
            module, _, name = path.rpartition(".")
            found.append(getattr(import_module(module), name))
    return found


@pytest.mark.parametrize("module", ["codeword", "codeword.quantizers", "codeword.search", "codeword.codecs.vectors"])
def test_the_reference_lists_every_public_name(module):
    home = import_module(module)
    names = [name for name in dir(home) if not name.startswith("_")]
    offered = {name: getattr(home, name) for name in names}
    mine = {name: thing for name, thing in offered.items() if callable(thing)}
    assert mine
    listed = {id(thing) for thing in documented()}
    assert [name for name, thing in mine.items() if id(thing) not in listed] == []


def axis_words():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in ARRAYS:
                shape = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
                if isinstance(shape, ast.Constant) and isinstance(shape.value, str):
                    yield from shape.value.split()


def test_the_conventions_list_every_word_for_an_axis():
    page = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    table = page[page.index("| axis |") : page.index("## What every quantizer promises")]
    listed = set(re.findall(r"`([^`]+)`", "".join(row.split("|")[1] for row in table.splitlines() if "|" in row)))
    used = {word.replace("#", "") for word in axis_words()}
    assert sorted(word for word in used if not re.fullmatch(r"\d+|\.\.\.|\{\w+\}", word) and word not in listed) == []


def test_the_table_of_estimators_is_that_of_the_results():
    page = (ROOT / "docs" / "quantizers" / "vector.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|`]+) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) \| (\d+) \|$", page, flags=re.MULTILINE)
    summary = json.loads((ROOT / "results" / "estimators_autoencoder.json").read_text())["summary"]
    assert rows == [
        (
            row["method"],
            f"{1e3 * row['test_mse']:.2f}",
            f"{1e3 * row['test_mse_deviation']:.2f}",
            f"{row['test_psnr']:.2f}",
            f"{row['perplexity']:.0f}",
        )
        for row in summary
    ]


def test_the_page_shows_the_recipes_of_full_size():
    assert import_module("codeword.recipes.published").markdown() in (ROOT / "docs" / "pretraining.md").read_text()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.stem)
def test_links_and_pictures_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_the_version_is_that_of_the_package():
    assert codeword.__version__ in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
