"""What a feature's values depend on, as plain data: the code it reaches and the constants in it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

OWN_PACKAGE = __name__.partition(".")[0]
SCALARS = (bool, int, float, complex, str, bytes, timedelta, Enum, np.generic, type(None))
NOT_LOGIC = {"annotation", "returns", "type_comment", "type_params", "ctx", "kind"}


@dataclass(frozen=True)
class _Source:
    """What is written of a function: its syntax, and the names in it with owner and attribute."""

    code: CodeType
    syntax: Any
    names: Mapping[str, tuple[str, str]]


# What the names stand for may change under the same code, so values are never kept.
_sources: WeakKeyDictionary[FunctionType, _Source] = WeakKeyDictionary()


def reachable_logic(function: Callable[..., Any]) -> list[Any]:
    """Return the syntax of a function and of all it reaches, with the constants they name.

    Followed are functions of the function's own package and of this one, by name, through a
    module's attribute, or held by a closure; other libraries count by name only.
    """
    packages = {function.__module__.partition(".")[0], OWN_PACKAGE}
    waiting: list[FunctionType] = [_plain_function(function)]
    seen: set[FunctionType] = set()
    logic: list[Any] = []
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        source = _source(current)
        logic.append(source.syntax)
        for name, value in _named_values(current, source.names):
            reached = _function_behind(value)
            if reached is None:
                constant = _constant(value)
                if constant is not None:
                    logic.append([name, constant])
            elif reached.__module__.partition(".")[0] in packages:
                waiting.append(reached)
    return logic


def _plain_function(function: Callable[..., Any]) -> FunctionType:
    found = _function_behind(function)
    if found is None:
        raise TypeError(f"{function!r} is no Python function, so its logic cannot be read")
    return found


def _function_behind(value: Any) -> FunctionType | None:
    """Return the function that a value is, decorates, or defines a feature by."""
    value = getattr(value, "function", value)
    if callable(value) and hasattr(value, "__wrapped__"):
        value = inspect.unwrap(value)
    return value if isinstance(value, FunctionType) else None


def _source(function: FunctionType) -> _Source:
    """Return a function's syntax, read once for as long as its code is the same object."""
    known = _sources.get(function)
    if known is None or known.code is not function.__code__:
        known = _sources[function] = _read_source(function)
    return known


def _read_source(function: FunctionType) -> _Source:
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if isinstance(definition, ast.FunctionDef):
        definition.decorator_list = []
    names = {}
    for node in _logic_nodes(definition):
        if isinstance(node, ast.Name):
            names[node.id] = (node.id, "")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names[f"{node.value.id}.{node.attr}"] = (node.value.id, node.attr)
    return _Source(function.__code__, _syntax(definition), dict(sorted(names.items())))


def _named_values(
    function: FunctionType, names: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, Any]]:
    """Yield what the names in a function stand for, outside of it, in their order."""
    outside: dict[str, Any] = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        outside[name] = cell.cell_contents
    for name, (owner, attribute) in names.items():
        if owner in outside:
            value = outside[owner]
            if not attribute:
                yield name, value
            elif isinstance(value, ModuleType):
                yield name, getattr(value, attribute, None)


def _logic_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name not in NOT_LOGIC:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _logic_nodes(child)


def _syntax(node: Any) -> Any:
    """Return a syntax tree as lists: `ast.dump` words the same tree by Python's version."""
    if isinstance(node, list):
        return [_syntax(child) for child in node]
    if not isinstance(node, ast.AST):
        return [type(node).__name__, repr(node)]
    fields = {}
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(value, list):
            value = _without_docstring(node, value)
        if name not in NOT_LOGIC and value is not None and value != []:
            fields[name] = _syntax(value)
    return [type(node).__name__, fields]


def _without_docstring(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return body
    return body if ast.get_docstring(node) is None else body[1:]


def _constant(value: Any) -> Any:
    """Return a constant as plain data with its type; None for what is no constant."""
    if isinstance(value, SCALARS):
        return [type(value).__name__, repr(value)]
    if isinstance(value, np.ndarray):
        return ["ndarray", str(value.dtype), value.tolist().__repr__()]
    if isinstance(value, Mapping):
        return _of_constants("mapping", [part for item in value.items() for part in item])
    if isinstance(value, set | frozenset):
        return _of_constants("set", sorted(value, key=repr))
    if isinstance(value, tuple | list):
        return _of_constants(type(value).__name__, list(value))
    return None


def _of_constants(kind: str, values: list[Any]) -> Any:
    parts = [_constant(value) for value in values]
    return None if any(part is None for part in parts) else [kind, parts]
