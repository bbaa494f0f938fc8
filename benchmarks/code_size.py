"""Print the files and functions that have outgrown the limits of the style: a place to look, not a verdict."""

import ast
from pathlib import Path

LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 9


def outliers(path: Path) -> list[str]:
    """What one file has that is over a limit."""
    text = path.read_text()
    found = [f"{path}: {text.count(chr(10))} lines"] if text.count("\n") > LONGEST_FILE else []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node, clean=False)
        length = (node.end_lineno or node.lineno) - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)
        parameters = len(node.args.args) + len(node.args.kwonlyargs) + len(node.args.posonlyargs)
        if length > LONGEST_FUNCTION or parameters > MOST_PARAMETERS:
            found.append(f"{path}:{node.lineno} {node.name}: {length} lines, {parameters} parameters")
    return found


if __name__ == "__main__":
    files = sorted(Path("src").rglob("*.py"))
    rows = [row for path in files for row in outliers(path)]
    print(f"{len(files)} files, {sum(p.read_text().count(chr(10)) for p in files)} lines, {len(rows)} over a limit")
    print("\n".join(rows))
