"""Find basin arithmetic in source text: distances, means and interpolations written by hand.

Works on the syntax tree, so comments and strings do not matter. An array counts as a basin when
the last word of its name is `basin` or `bearing` (singular or plural, before a shape suffix):
`basin_K`, `site.bearing_K`, `kernel_basins[0]`, but not `basin_dim` or `num_basins`.
"""

import ast
import re
from collections.abc import Iterator

_BASIN = re.compile(r"(?:^|_)(?:basin|bearing)s?(?:_[A-Z0-9]+)?$")
_COUNT = re.compile(r"^(?:num|len|has|count)_")

_DISTANCE_CALLS = {
    *("arccos", "arcsin", "acos", "asin", "arccos_", "arcsin_", "acos_", "asin_"),
    *("cosine_similarity", "CosineSimilarity", "cosine_distances", "euclidean_distances"),
    *("cdist", "pdist", "pairwise_distance", "PairwiseDistance"),
}
_BASIN_CALLS = {
    **dict.fromkeys(("sqrt", "sqrt_", "rsqrt"), "square root of a basin"),
    **dict.fromkeys(("dot", "inner", "vdot", "vecdot", "matmul"), "inner product with a basin"),
    **dict.fromkeys(("einsum", "tensordot", "mv", "mm"), "inner product with a basin"),
    **dict.fromkeys(("mean", "average", "median", "nanmean", "fmean"), "average of basins"),
    **dict.fromkeys(("norm", "vector_norm", "dist"), "norm of basins"),
    **dict.fromkeys(("lerp", "interp", "slerp"), "interpolation of basins"),
}
_PASSES_THROUGH = {
    *("asarray", "array", "stack", "concatenate", "tensor", "from_numpy", "numpy", "zip"),
    *("abs", "clip", "copy", "double", "float", "reshape", "sqrt", "square"),
}


def findings(source: str) -> list[tuple[int, str]]:
    """Return the line and kind of every piece of basin arithmetic in a module's text."""
    found = {
        (node.lineno, kind)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.expr | ast.stmt)
        for kind in _kinds(node)
    }
    return sorted(found)


def _kinds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from _kinds_of_call(node)
    elif isinstance(node, ast.BinOp):
        yield from _kinds_of_operator(node)
    elif isinstance(node, ast.ImportFrom):
        yield from (_belongs(name.name) for name in node.names if name.name in _DISTANCE_CALLS)
    elif isinstance(node, ast.AugAssign):
        yield from _kinds_of_operator(ast.BinOp(node.target, node.op, node.value))


def _kinds_of_call(call: ast.Call) -> Iterator[str]:
    name = _last_name(call.func)
    # `basin.sqrt()` is `sqrt(basin)`: the object a method is called on counts as an argument.
    receiver = [call.func.value] if isinstance(call.func, ast.Attribute) else []
    arguments = [*receiver, *call.args, *(keyword.value for keyword in call.keywords)]
    if name in _DISTANCE_CALLS:
        yield _belongs(name)
    if name in _BASIN_CALLS and any(_holds_basin(argument) for argument in arguments):
        yield _BASIN_CALLS[name]


def _kinds_of_operator(node: ast.BinOp) -> Iterator[str]:
    left, right = _holds_basin(node.left), _holds_basin(node.right)
    if isinstance(node.op, ast.MatMult) and (left or right):
        yield "inner product with a basin"
    if isinstance(node.op, ast.Sub) and left and right:
        yield "difference of basins"
    if isinstance(node.op, ast.Add) and left and right:
        yield "sum of basins"
    if isinstance(node.op, ast.Mult) and left and right:
        yield "product of basins"
    if isinstance(node.op, ast.Pow) and left and _is_fraction(node.right):
        yield "square root of a basin"


def _belongs(name: str) -> str:
    return f"{name} belongs in geometry"


def _is_fraction(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Div) for part in ast.walk(node)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value % 1 != 0
    )


def _holds_basin(node: ast.expr) -> bool:
    """Return True when the value of an expression is made of a basin's entries.

    What a call returns is judged by the call's own name, but numpy-like functions of one array
    (`asarray(basin_K)`) pass their argument through.
    """
    if isinstance(node, ast.Attribute) and node.attr in {"T", "mT"}:
        return _holds_basin(node.value)
    if isinstance(node, ast.Name | ast.Attribute):
        return _is_basin_name(_last_name(node))
    if isinstance(node, ast.Subscript | ast.Starred):
        return _holds_basin(node.value)
    if isinstance(node, ast.BinOp):
        return _holds_basin(node.left) or _holds_basin(node.right)
    if isinstance(node, ast.UnaryOp):
        return _holds_basin(node.operand)
    if isinstance(node, ast.List | ast.Tuple):
        return any(_holds_basin(element) for element in node.elts)
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return _holds_basin(node.elt)
    if isinstance(node, ast.Call):
        receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        through = _last_name(node.func) in _PASSES_THROUGH
        return through and any(map(_holds_basin, [*receiver, *node.args]))
    return False


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_basin_name(name: str) -> bool:
    return bool(_BASIN.search(name)) and not _COUNT.match(name)
