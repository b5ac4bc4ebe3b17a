"""The text form of an ML Program, ``model.mil``, which compiled models carry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from mobilevit_tools.errors import BadInputError

from .dtypes import BY_NAME, ElementType
from .mil import MAX_ELEMENTS, Argument, Constant, Graph, Operation, ValueType

Blob = Callable[[str, int, ElementType, int], np.ndarray]
"""Reads a constant from a weight file: its name as written, offset, element type and number of elements."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*") |
        (?P<hexadecimal>[-+]?0x[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?p[-+]?\d+) |
        (?P<number>[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf\b|nan\b)) |
        (?P<word>[A-Za-z_][\w.@/]*) |
        (?P<mark>->|[\[\](){}<>=,;?])
    )""",
    re.VERBOSE,
)
_OPEN = {"[": "]", "(": ")", "{": "}", "<": ">"}


def parse_program(source: str, blob: Blob, function: str = "") -> Graph:
    """Read a function of a program; ``main`` or the first one where none is named.

    Args:
        source: The text.
        blob: How to read constants that lie in a weight file.
        function: Which function.

    Raises:
        BadInputError: The text is cut short or damaged, or there is no such function.
    """
    parser = _Parser(_tokens(source), blob)
    functions = parser.program(function)
    chosen = function or ("main" if "main" in functions else next(iter(functions), ""))
    if chosen not in functions:
        raise BadInputError(f"The program has no function {chosen!r}; its functions are: {', '.join(functions)}.")
    return functions[chosen]


def _tokens(source: str) -> list[str]:
    found: list[str] = []
    position = 0
    end = len(source.rstrip())
    while position < end:
        match = _TOKEN.match(source, position)
        if match is None:
            line = source.count("\n", 0, position) + 1
            raise BadInputError(f"The program's text is damaged in line {line}.")
        found.append(match.group().strip())
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[str], blob: Blob) -> None:
        self._tokens = tokens
        self._next = 0
        self._blob = blob
        self._constants: dict[str, Constant] = {}
        self._compressed: list[Operation] = []

    def program(self, wanted: str) -> dict[str, Graph]:
        self._expect("program")
        self._skip()
        if self._peek() == "[":
            self._skip()
        self._expect("{")
        functions: dict[str, Graph] = {}
        while self._peek() != "}":
            name, graph = self._function(wanted)
            functions[name] = graph
        return functions

    def _function(self, wanted: str) -> tuple[str, Graph]:
        self._constants, self._compressed = {}, []
        self._expect("func")
        name = self._take()
        self._expect("<")
        opset = self._take()
        self._expect(">")
        self._expect("(")
        inputs: dict[str, ValueType] = {}
        while self._peek() != ")":
            declared = self._type()
            inputs[self._take()] = declared
            self._comma()
        self._take()
        if self._peek() == "[":
            self._skip()
        self._expect("{")
        operations: list[Operation] = []
        while self._peek() != "}":
            self._operation(operations, read=wanted in {"", name})
        self._take()
        self._expect("->")
        self._expect("(")
        outputs = []
        while self._peek() != ")":
            outputs.append(self._take())
            self._comma()
        self._take()
        self._expect(";")
        graph = Graph(inputs, tuple(outputs), tuple(operations), self._constants, tuple(self._compressed), opset)
        return name, graph

    def _operation(self, operations: list[Operation], *, read: bool) -> None:
        outputs = []
        while True:
            declared = self._type()
            outputs.append((self._take(), declared))
            if self._take() == "=":
                break
        kind = self._take()
        inputs = self._parameters("(", ")", read=read)
        attributes = self._parameters("[", "]", read=read) if self._peek() == "[" else {}
        if self._peek() == "{":
            raise BadInputError(
                f"The program's text has a {kind} with inner programs, which is read from packages only."
            )
        self._expect(";")
        name = _word(attributes.pop("name", ())) or outputs[0][0]
        if kind == "const":
            (value,) = attributes["val"]
            if isinstance(value, Constant):
                self._constants[outputs[0][0]] = value
            return
        operation = Operation(name, kind, inputs | attributes, tuple(outputs))
        (self._compressed if kind.startswith("constexpr_") else operations).append(operation)

    def _parameters(self, start: str, end: str, *, read: bool) -> dict[str, tuple[Argument, ...]]:
        self._expect(start)
        found: dict[str, tuple[Argument, ...]] = {}
        while self._peek() != end:
            name = self._take()
            self._expect("=")
            if self._peek() == "(":
                self._take()
                several: list[Argument] = []
                while self._peek() != ")":
                    several.append(self._argument(read=read))
                    self._comma()
                self._take()
                found[name] = tuple(several)
            else:
                found[name] = (self._argument(read=read),)
            self._comma()
        self._take()
        return found

    def _argument(self, *, read: bool) -> Argument:
        """A name, or a type with its value behind it."""
        if self._tokens[self._next + 1 : self._next + 2] not in (["<"], ["("]):
            return self._take()
        declared = self._type()
        self._expect("(")
        if self._peek() == "BLOBFILE":
            constant = self._stored(declared, read=read)
        else:
            constant = _constant(self._literals(), declared)
        self._expect(")")
        return constant

    def _stored(self, declared: ValueType, *, read: bool) -> Constant:
        self._take()
        where = self._parameters("(", ")", read=True)
        shape = tuple(size or 0 for size in declared.shape)
        offset = where["offset"][0]
        if not isinstance(offset, Constant):
            raise BadInputError("The program's text is damaged: a constant lies at no number.")
        if not read:
            return Constant(np.zeros(0), declared.element)
        flat = self._blob(_word(where["path"]), int(offset.value), declared.element, math.prod(shape))
        return Constant(flat.reshape(shape), declared.element)

    def _literals(self) -> list[str]:
        """Every value up to the closing parenthesis, whatever brackets are around it."""
        found = []
        while self._peek() != ")":
            token = self._take()
            if token not in {"[", "]", "{", "}", ","}:
                found.append(token)
        return found

    def _type(self) -> ValueType:
        kind = self._take()
        if kind in BY_NAME:
            return ValueType(BY_NAME[kind], ())
        if kind == "tensor":
            self._expect("<")
            element = self._element()
            self._expect(",")
            self._expect("[")
            sizes: list[int | None] = []
            while self._peek() != "]":
                token = self._take()
                sizes.append(None if token == "?" or not token.isdigit() else int(token))  # noqa: S105 - no secret
                self._comma()
            self._take()
            self._expect(">")
            if math.prod(size for size in sizes if size) > MAX_ELEMENTS:
                raise BadInputError(f"The program has a value of shape {tuple(sizes)}, which is too large.")
            return ValueType(element, tuple(sizes))
        if kind == "state":
            self._expect("<")
            inner = self._type()
            self._expect(">")
            return ValueType(inner.element, inner.shape, "state")
        if kind in {"dict", "list", "tuple"}:
            self._skip()
            return ValueType(BY_NAME["fp32"], (), "dictionary" if kind == "dict" else kind)
        raise BadInputError(f"The program's text is damaged: {kind[:80]!r} is no type.")

    def _element(self) -> ElementType:
        name = self._take()
        if name not in BY_NAME:
            raise BadInputError(f"The program's text has the unknown element type {name[:80]!r}.")
        return BY_NAME[name]

    def _peek(self) -> str:
        if self._next >= len(self._tokens):
            raise BadInputError("The program's text is truncated.")
        return self._tokens[self._next]

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _expect(self, token: str) -> None:
        found = self._take()
        if found != token:
            raise BadInputError(f"The program's text is damaged: {token!r} is missing before {found[:80]!r}.")

    def _comma(self) -> None:
        if self._peek() == ",":
            self._take()

    def _skip(self) -> None:
        """Pass over everything between two brackets."""
        open_brackets = [_OPEN[self._take()]]
        while open_brackets:
            token = self._take()
            if token in _OPEN:
                open_brackets.append(_OPEN[token])
            elif token == open_brackets[-1]:
                open_brackets.pop()


def _word(arguments: tuple[Argument, ...]) -> str:
    constant = next(iter(arguments), None)
    return str(constant.value.reshape(-1)[0]) if isinstance(constant, Constant) else ""


def _constant(literals: list[str], declared: ValueType) -> Constant:
    shape = tuple(size or 0 for size in declared.shape)
    values = [_literal(token, declared.element) for token in literals]
    if len(values) != math.prod(shape):
        raise BadInputError(f"The program's text is damaged: {len(values)} values where {math.prod(shape)} belong.")
    storage: Any = object if declared.element.storage is None else declared.element.storage
    return Constant(np.array(values, storage).reshape(shape), declared.element)


def _literal(token: str, element: ElementType) -> str | float | int | bool:
    if element.storage is None:
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if element.name == "bool":
        return token == "true"  # noqa: S105 - no secret
    if not element.is_float:
        return int(token, 0)
    return float.fromhex(token) if "0x" in token else float(token)
