"""Look for forbidden shapes in source text, on the syntax tree.

Each scan takes a module's text and returns the lines at which it found something, so that tests
can show on planted snippets that it would.
"""

import ast
from collections.abc import Iterator

READERS_OF_THE_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv"})
RAY_CALLS = frozenset({"get", "wait", "kill", "get_actor"})
UNBOUNDED = frozenset({"Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"})


def environment_reads(source: str) -> list[int]:
    """Find uses of the environment through `os`, however it was imported."""
    tree = ast.parse(source)
    attributes = {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in READERS_OF_THE_ENVIRONMENT
        and isinstance(node.value, ast.Name)
        and node.value.id in _names_of(tree, "os")
    }
    return sorted(attributes | set(_from_imports(tree, "os", READERS_OF_THE_ENVIRONMENT)))


def ray_calls(source: str, names: frozenset[str] = RAY_CALLS) -> list[int]:
    """Find uses of the named functions of `ray`."""
    tree = ast.parse(source)
    attributes = {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id in _names_of(tree, "ray")
    }
    return sorted(attributes | set(_from_imports(tree, "ray", names)))


def imports_of(source: str, modules: frozenset[str]) -> list[int]:
    """Find imports of the named top-level modules."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        for name in _imported(node)
        if name.split(".")[0] in modules
    )


def swallowed_exceptions(source: str) -> list[int]:
    """Find handlers of every exception that never raise."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and _is_catch_all(node.type)
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    )


def calls_without_timeout(source: str, methods: frozenset[str]) -> list[int]:
    """Find calls of RPCs that carry no `timeout`.

    An RPC is a method named like one, on anything but a module of messages (`..._pb2`), or a
    name that was bound to `getattr(..stub.., ...)`.
    """
    tree = ast.parse(source)
    looked_up = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "getattr" in (text := ast.unparse(node.value))
        if "stub" in text.lower()
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (_calls_method(node, methods) or _calls_name(node, looked_up))
        and "timeout" not in {keyword.arg for keyword in node.keywords}
    )


def unbounded_queues(source: str) -> list[int]:
    """Find queues made without a limit."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and _last_name(node.func) in UNBOUNDED
        and not node.args
        and "maxsize" not in {keyword.arg for keyword in node.keywords}
    )


def background_tasks(source: str) -> list[int]:
    """Find tasks of asyncio that are started beside their caller; those of a group are awaited."""
    tree = ast.parse(source)
    names = frozenset({"create_task", "ensure_future"})
    attributes = {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and "group" not in _last_name(node.value)
    }
    return sorted(attributes | set(_from_imports(tree, "asyncio", names)))


def text_without_encoding(source: str) -> list[int]:
    """Find text that is read or written in whatever encoding the locale has.

    These are `read_text` and `write_text`, what opens a file in a mode without "b", and what runs a
    program with `text=True`, each without an encoding.
    """
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and _handles_text(node)
        and "encoding" not in {keyword.arg for keyword in node.keywords}
        and not any(isinstance(each, ast.Constant) and each.value == "utf-8" for each in node.args)
    )


def modules_run_with_the_working_directory(source: str) -> list[int]:
    """Find commands that run a module by `sys.executable, "-m"` without -P before it."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.List | ast.Tuple)
        and [ast.unparse(each) for each in node.elts[:2]] == ["sys.executable", "'-m'"]
    )


def loopback_addresses(source: str) -> list[int]:
    """Find text that names an IPv4 address of loopback."""
    return [number for number, line in enumerate(source.splitlines(), 1) if "127.0.0" in line]


def _handles_text(call: ast.Call) -> bool:
    name = _last_name(call.func)
    if name in {"read_text", "write_text"}:
        return isinstance(call.func, ast.Attribute)
    if name in {"open", "fdopen"}:
        modes = [
            each.value
            for each in (*call.args, *(keyword.value for keyword in call.keywords))
            if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        of_text = [mode for mode in modes if mode and set(mode) <= set("rwax+t")]
        return bool(of_text) or (isinstance(call.func, ast.Name) and not modes)
    return "text" in {keyword.arg for keyword in call.keywords} and name in {"run", "Popen"}


def _calls_method(call: ast.Call, methods: frozenset[str]) -> bool:
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in methods
        and not _last_name(call.func.value).endswith("_pb2")
    )


def _calls_name(call: ast.Call, names: set[str]) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in names


def _is_catch_all(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(map(_is_catch_all, kind.elts))
    return kind is None or _last_name(kind) in {"Exception", "BaseException"}


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module


def _names_of(tree: ast.AST, module: str) -> set[str]:
    """Return the names that `import module [as name]` binds in a module."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == module
    }


def _from_imports(tree: ast.AST, module: str, names: frozenset[str]) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            yield from (node.lineno for alias in node.names if alias.name in names)
