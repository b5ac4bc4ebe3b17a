"""The page of error codes, from where the sources raise them."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import mobilevit_tools
from mobilevit_tools import errors
from mobilevit_tools.documents import DocumentKind

PACKAGE = Path(mobilevit_tools.__file__).parent
MOST_SENTENCES = 3
ANY_STATUS = "…"
ERRORS = """\
A command that fails prints one sentence and a hint. With `--json`, `error.code` in its envelope is one of these; in
Python, `error_code` of the exception, whose class follows from the [exit code](exit-codes.md). "…" stands for the worst
exit code of what failed."""


def error_codes() -> str:
    """Return the page of the codes in the envelope of a failed command, found where they are raised."""
    sources = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    classes = _error_classes(sources)
    found: dict[tuple[str, str], list[str]] = {}
    for each in classes.values():
        found[each.code, str(int(each.exit_code))] = (each.__doc__ or "").strip().splitlines()[:1]
    for tree in sources.values():
        assigned = _assigned_codes(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            for code, sentence in _document_codes(node):
                found.setdefault((code, str(int(errors.BadInputError.exit_code))), []).append(sentence)
            raised = classes.get(node.func.id) if isinstance(node.func, ast.Name) else None
            status = str(int(raised.exit_code)) if raised else ANY_STATUS
            for code in _literals(next((word.value for word in node.keywords if word.arg == "code"), None), assigned):
                sentence = _sentence(node.args[0]) if node.args else ""
                if raised is None or code != raised.code:
                    found.setdefault((code, status), []).append(sentence)
    known = {code for code, status in found if status != ANY_STATUS}
    rows = [
        f"| `{code}` | {status} | {'<br>'.join(list(dict.fromkeys(filter(None, sentences)))[:MOST_SENTENCES])} |"
        for (code, status), sentences in sorted(found.items())
        if status != ANY_STATUS or code not in known
    ]
    return "\n".join(["# Error codes", "", ERRORS, "", "| code | exit code | says |", "|---|---|---|", *rows, ""])


def _document_codes(call: ast.Call) -> list[tuple[str, str]]:
    """Return the codes of a kind of document that is declared here, and what the reader says with each."""
    if not (isinstance(call.func, ast.Name) and call.func.id == DocumentKind.__name__):
        return []
    stated = dict(zip((field.name for field in fields(DocumentKind)), call.args, strict=False))
    stated |= {word.arg: word.value for word in call.keywords if word.arg is not None}
    (name,) = _literals(stated["name"])
    codes = _literals(stated["code"])  # none where it is the default of all bad input
    missing = _literals(stated.get("missing")) or codes
    return [(code, f"… is not {name}: ….") for code in codes] + [(code, "… cannot be read: ….") for code in missing]


def _error_classes(sources: Mapping[Path, ast.Module]) -> dict[str, type[errors.MvtError]]:
    """Return the package's error classes by name, importing the modules that define one."""
    for path, tree in sources.items():
        defined = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        if any(isinstance(base, ast.Name) and base.id.endswith("Error") for node in defined for base in node.bases):
            import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    package = f"{mobilevit_tools.__name__}."
    return {each.__name__: each for each in _subclasses(errors.MvtError) if each.__module__.startswith(package)}


def _assigned_codes(tree: ast.Module) -> list[str]:
    """Return what a module assigns to variables named ``code``, alone or in a tuple."""
    codes = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                codes += [code for name, value in pairs if _is_code(name) for code in _literals(value)]
    return codes


def _is_code(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "code"


def _literals(value: ast.expr | None, assigned: Sequence[str] = ()) -> list[str]:
    """Return the strings that an expression may be; ``assigned`` are those of the variable ``code``."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    if isinstance(value, ast.IfExp):
        return [*_literals(value.body, assigned), *_literals(value.orelse, assigned)]
    return list(assigned) if value is not None and _is_code(value) else []


def _subclasses(parent: type[errors.MvtError]) -> list[type[errors.MvtError]]:
    return [parent, *(each for child in parent.__subclasses__() for each in _subclasses(child))]


def _sentence(message: ast.expr) -> str:
    """Return a message as it is written, with an ellipsis for what is filled in."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    words = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts]
    sentence = "".join(words)
    return html.escape(sentence, quote=False).replace("|", "\\|") if re.search(r"\w+ \w+", sentence) else ""
