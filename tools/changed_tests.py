"""Print the test files that a change can touch, the nearest first: those that import it, directly or through others.

Read from the sources: imports wherever they stand, and modules that are named in text, as the registries do it. So it
needs no earlier run, and what is loaded in a child process counts as well, which a record of what a test ran would
miss. Through enough others nearly every test imports nearly everything: ``--steps`` says how far to go.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("mobilevit_tools", "tests", "tools")
_NAMED = re.compile(r"(?:mobilevit_tools|tests|tools)(?:\.\w+)+")


def module_name(path: Path) -> str:
    """Return the dotted name of a Python file, relative to the root."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only a type checker reads."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def named_in(source: str) -> set[str]:
    """Return what a file imports, of ``from a import b`` ``a`` and ``a.b``, and text that may name a module."""
    found: set[str] = set()
    for node in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(_NAMED.findall(node.value))
            if node.value.isidentifier():
                found.add(node.value)
    return found


def importers(sources: Mapping[Path, str]) -> dict[Path, set[Path]]:
    """Return for each file those that load it; ``sources`` are Python files by path from the root, and their text.

    A registry may name a module of its own folder without the folder. A test also loads the ``conftest.py`` of its
    folder and of those above, and belongs to the file that it mirrors.
    """
    files = {module_name(path): path for path in sources}
    found: defaultdict[Path, set[Path]] = defaultdict(set)
    for path, source in sources.items():
        names = named_in(source)
        beside = {module_name(path.with_name(f"{name}.py")) for name in names if name.isidentifier()}
        mirrored = module_name(Path("mobilevit_tools", *path.parts[1:-1], path.name.removeprefix("test_")))
        for name in names | beside | {mirrored}:
            if name in files and files[name] != path:
                found[files[name]].add(path)
        if path.parts[0] == "tests":
            for folder in path.parents:
                if (conftest := folder / "conftest.py") in sources:
                    found[conftest].add(path)
    return found


def touched(changed: Iterable[Path], loaded_by: Mapping[Path, set[Path]], steps: int) -> tuple[list[Path], int]:
    """Return the test files that a change of these files can touch in so many steps, and how many more it can touch."""
    distance = dict.fromkeys(changed, 0)
    waiting = deque(distance)
    while waiting:
        path = waiting.popleft()
        for other in sorted(loaded_by.get(path, ())):
            if other not in distance:
                distance[other] = distance[path] + 1
                waiting.append(other)
    tests = [path for path in distance if path.parts[0] == "tests" and path.name.startswith("test_")]
    near = [path for path in tests if distance[path] <= steps]
    return near, len(tests) - len(near)


def changed_files(base: str) -> set[Path]:
    """Return what differs from where this branch left ``base``, committed or not, and what git does not know yet."""
    questions = (["diff", "--name-only", "--merge-base", base], ["ls-files", "--others", "--exclude-standard"])
    told = [
        subprocess.run(["git", *question], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S607
        for question in questions
    ]
    return {Path(line) for said in told for line in said.splitlines()}


def main() -> None:
    """Print the files, one a line, and what was left out to stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", default="main", help="The branch that the change is for. Default: main.")
    parser.add_argument("--steps", type=int, default=2, help="Imports between a change and a test. Default: 2.")
    options = parser.parse_args()
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    sources = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in paths}
    changed = changed_files(options.base)
    near, further = touched(changed & set(sources), importers(sources), options.steps)
    pages = {path for path in changed if path.suffix == ".md"}
    if pages:
        near += [path for path in sorted(sources) if path.match("tests/docs/test_*.py") and path not in near]
    others = sorted(str(path) for path in changed - set(sources) - pages)
    sys.stderr.write(f"{len(near)} test files; {further} more are further than {options.steps} imports away.\n")
    if others:
        sys.stderr.write(f"Not Python, run what reads it yourself: {', '.join(others)}\n")
    sys.stdout.write("".join(f"{path}\n" for path in near))


if __name__ == "__main__":
    main()
