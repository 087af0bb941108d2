"""House rules that no linter checks, each with an inverse check.

A rule takes the parsed source of one file and yields one message per offence.
"""

import ast
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sepme

PACKAGE = Path(__file__).parent.parent / "src" / "sepme"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

PICKLING_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
ABSOLUTE_PATH = re.compile(
    r"""(?:^|[\s"'`=(])(?:~/|[A-Za-z]:\\|"""
    r"""/(?:data|etc|home|media|mnt|opt|private|proc|root|srv|tmp|usr|var|work|Users)/)"""
)

Offences = Iterator[str]
Rule = Callable[[ast.Module, str], Offences]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def imported_modules(node: ast.AST) -> list[str]:
    """Modules that an import statement names; empty for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def uses(tree: ast.Module, dotted: str) -> Offences:
    """Every place that names ``module.attribute``, or imports it."""
    for node in ast.walk(tree):
        named = isinstance(node, ast.Attribute) and ast.unparse(node) == dotted
        if named or dotted in imported_modules(node):
            yield f"line {node.lineno}: {dotted}"


def is_public(name: str) -> bool:
    return not name.startswith("_")


# ------------------------------------------------------------------------------- rules


def no_print(tree: ast.Module, source: str) -> Offences:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"line {node.lineno}: print()"


def no_torch_load(tree: ast.Module, source: str) -> Offences:
    """``torch.load`` and ``torch.save`` pickle; safetensors does not."""
    yield from uses(tree, "torch.load")
    yield from uses(tree, "torch.save")


def no_pickle(tree: ast.Module, source: str) -> Offences:
    for node in ast.walk(tree):
        if any(name.split(".")[0] in PICKLING_MODULES for name in imported_modules(node)):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        allows = isinstance(node, ast.keyword) and node.arg == "allow_pickle"
        if allows and ast.unparse(node.value) != "False":
            yield f"line {node.value.lineno}: allow_pickle"


def no_sys_path(tree: ast.Module, source: str) -> Offences:
    yield from uses(tree, "sys.path")


def no_absolute_path(tree: ast.Module, source: str) -> Offences:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and ABSOLUTE_PATH.search(text):
            yield f"line {node.lineno}: {text[:60]!r}"


def no_monkeypatch(tree: ast.Module, source: str) -> Offences:
    """No assignment to an attribute of an imported name or of a class of this file."""
    fixed = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            fixed |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            target: ast.expr = node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and node.args:
            target = node.args[0]
        else:
            continue
        if ast.unparse(target).split(".")[0] in fixed:
            yield f"line {node.lineno}: patches {ast.unparse(target)}"


def no_long_file(tree: ast.Module, source: str) -> Offences:
    lines = len(source.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{lines} lines, at most {MAX_FILE_LINES}"


def no_long_function(tree: ast.Module, source: str) -> Offences:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {lines}, at most {MAX_FUNCTION_LINES}"


def docstrings(tree: ast.Module, source: str) -> Offences:
    """Public functions, classes and methods say what they do; overloads and setters need not."""
    pending: list[ast.AST] = [tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if not isinstance(node, Function | ast.ClassDef):
                continue
            marks = {ast.unparse(mark).split(".")[-1] for mark in node.decorator_list}
            if not is_public(node.name) or marks & {"overload", "override", "setter"}:
                continue
            if not ast.get_docstring(node):
                yield f"line {node.lineno}: {node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                pending.append(node)


def surface(module: types.ModuleType) -> Offences:
    """``__all__`` is sorted, without repeats, and equal to the public names."""
    listed = list(module.__all__)
    if listed != sorted(set(listed)):
        yield f"__all__ is not sorted and unique: {listed}"
    for name in listed:
        if not hasattr(module, name):
            yield f"__all__ names {name}, which does not exist"
        if name not in dir(module):
            yield f"dir() does not show {name}; a lazy module needs __dir__"
    for name, value in vars(module).items():
        own = getattr(value, "__module__", module.__name__).split(".")[0] == module.__name__
        typing_only = name in {"TYPE_CHECKING", "annotations"}
        submodule = isinstance(value, types.ModuleType)
        if is_public(name) and own and not typing_only and not submodule and name not in listed:
            yield f"{name} is public but not in __all__"


# ------------------------------------------------------- the rules hold, and each can fail

RULES: dict[Rule, tuple[str, str]] = {  # rule: (source that breaks it, source that keeps it)
    no_print: ("print('x')", "console.print('x')"),
    no_torch_load: ("import torch\ntorch.load('x')", "load_file('x')"),
    no_pickle: ("import numpy\nnumpy.load(f, allow_pickle=True)", "load(f, allow_pickle=False)"),
    no_sys_path: ("import sys\nsys.path.insert(0, '.')", "import sys\nsys.exit(0)"),
    no_absolute_path: ("ROOT = '/home/me/data'", "URL = 'https://example.org/data/home/x'"),
    no_monkeypatch: (
        "from diffusers import Pipeline\nPipeline.__call__ = f",
        "import torch\nmodel = torch.nn.Linear(1, 1)\nmodel.bias = None",
    ),
    no_long_file: ("x = 1\n" * (MAX_FILE_LINES + 1), "x = 1\n" * MAX_FILE_LINES),
    no_long_function: (
        "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES,
        "def f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1),
    ),
    docstrings: ("class C:\n    'Doc.'\n    def f(self): ...", "def _f(): ..."),
}
MORE_OFFENCES: list[tuple[Rule, str]] = [
    (no_torch_load, "from torch import load"),
    (no_torch_load, "import torch\ntorch.save(x, 'y')"),
    (no_pickle, "from pickle import loads"),
    (no_sys_path, "from sys import path"),
    (no_absolute_path, "ROOT = f'/tmp/{name}'"),
    (no_monkeypatch, "import torch.nn as nn\nsetattr(nn.Linear, 'forward', f)"),
    (no_monkeypatch, "class C:\n    x = 1\nC.x = 2"),
    (docstrings, "def f(): ..."),
    (docstrings, "class C: ..."),
]


def offences(rule: Rule, source: str) -> list[str]:
    return list(rule(ast.parse(source), source))


def is_private_module(path: Path) -> bool:
    """A module ``_x`` has no public names, so its docstrings are its own affair."""
    return any(not is_public(part) and part != "__init__" for part in path.with_suffix("").parts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_source_keeps_the_rule(rule: Rule) -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files, f"no source files under {PACKAGE}"
    found = []
    for path in files:
        name = path.relative_to(PACKAGE)
        if rule is docstrings and is_private_module(name):
            continue
        source = path.read_text(encoding="utf-8")
        found += [f"{name}: {offence}" for offence in offences(rule, source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "bad"),
    [(rule, bad) for rule, (bad, _) in RULES.items()] + MORE_OFFENCES,
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_rule_can_fail(rule: Rule, bad: str) -> None:
    assert offences(rule, bad)


@pytest.mark.parametrize(
    ("rule", "good"),
    [(rule, good) for rule, (_, good) in RULES.items()],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_rule_can_pass(rule: Rule, good: str) -> None:
    assert not offences(rule, good)


def test_all_is_the_public_surface() -> None:
    assert not list(surface(sepme))


@pytest.mark.parametrize(
    ("names", "bound"),
    [
        (["b", "a"], {"a": 1, "b": 1}),
        (["a", "a"], {"a": 1}),
        (["a", "gone"], {"a": 1}),
        (["a"], {"a": 1, "extra": 1}),
    ],
    ids=["unsorted", "repeated", "missing", "unlisted"],
)
def test_the_surface_rule_can_fail(names: list[str], bound: dict[str, int]) -> None:
    module = types.ModuleType("toy")
    vars(module).update(bound, __all__=names)
    assert list(surface(module))
    vars(module).update(__all__=sorted(bound))
    assert not list(surface(module))
