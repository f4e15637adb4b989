"""The known contracts of HLX-1: names and types of their fields, and checks of values by them.

Unknown ids are allowed. Fields without a published type accept any value.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from constellation.curricula.hlx.values import Contract, Value, contract_view, kind_name
from constellation.errors import HlxError

LEGACY_IDS = (800, 801, 802, 803, 804, 805, 900, 901, 902)
"""Ids that older files wrote as 14."""
_KINDS = ("null", "bool", "int", "float", "text", "bytes", "array", "object")


@dataclass(frozen=True)
class FieldSpec:
    """One field of a contract.

    Attributes:
        index: Index of the field.
        name: Name of the field in programs.
        types: Accepted types: kinds, "any", or "KIND[]" for an array with items of one kind.
        choices: Accepted texts; empty for any text.
    """

    index: int
    name: str
    types: tuple[str, ...] = ("any",)
    choices: tuple[str, ...] = ()

    def accepts(self, value: Value) -> bool:
        """Say whether the field may have this value."""
        if self.choices and value not in self.choices:
            return False
        return any(_is_of(value, kind) for kind in self.types)


@dataclass(frozen=True)
class ContractSpec:
    """One known contract.

    Attributes:
        id: Id of the contract.
        name: Name of the contract.
        fields: Known fields; None if only the name is published, so that any fields are accepted.
        more_fields: Whether fields after the known ones are accepted.
    """

    id: int
    name: str
    fields: tuple[FieldSpec, ...] | None
    more_fields: bool = False


def _is_of(value: Value, kind: str) -> bool:
    if kind.endswith("[]"):
        return type(value) is tuple and all(_is_of(item, kind[:-2]) for item in value)
    return kind == "any" or kind_name(value) == kind


def _contract(
    id_: int, name: str, fields: str | None, *, more_fields: bool = False
) -> ContractSpec:
    """Return a contract from fields such as "shader:bytes|handle stage:text=vertex|fragment"."""
    if fields is None:
        return ContractSpec(id_, name, None)
    specs = tuple(_field(index, text) for index, text in enumerate(fields.split()))
    return ContractSpec(id_, name, specs, more_fields)


def _field(index: int, text: str) -> FieldSpec:
    name, _, rest = text.partition(":")
    types, _, choices = rest.partition("=")
    return FieldSpec(
        index,
        name,
        tuple(types.split("|")) if types else ("any",),
        tuple(choices.split("|")) if choices else (),
    )


_AXIOMS = "spec_ref:handle input_axioms:text[] output_impl:handle"
_SPECS = (
    _contract(2, "Field", "index name value"),
    _contract(3, "Object", "id fields"),
    _contract(4, "Document", "root provenance"),
    _contract(5, "Provenance", "profile created_at engine hash origin"),
    *(
        _contract(14 + rank, f"{kind}_literal", f"value:{kind}" if kind != "null" else "")
        for rank, kind in enumerate(
            ("int", "float", "text", "bytes", "array", "object", "handle", "null", "bool")
        )
    ),
    *(
        _contract(100 + rank, name, None)
        for rank, name in enumerate(
            ("block", "expr", "var_ref", "assignment", "function_def", "call")
        )
    ),
    _contract(800, "LC_Binary_Parser", _AXIOMS),
    _contract(801, "LC_Text_Parser", _AXIOMS),
    _contract(802, "CAS_Store", "spec_ref:handle hash_algorithm:text output_impl:handle"),
    _contract(803, "Operation_Engine", _AXIOMS),
    _contract(
        900,
        "VulkanShader",
        "shader_name:text spirv:bytes|handle entry_point:text stage:text=vertex|fragment|compute",
    ),
    _contract(
        901,
        "ComputeKernel",
        "kernel_name:text shader:handle workgroup:int[] shared_bytes:int push_layout:text",
    ),
    _contract(
        902,
        "PipelineConfig",
        "pipeline_id:text stages:handle[] sync_barriers:object[] output_image:handle",
    ),
    _contract(1000, "operation", "name:text", more_fields=True),
)
CONTRACTS: dict[int, ContractSpec] = {
    1: ContractSpec(1, "CoreExpr", None),
    **{spec.id: spec for spec in _SPECS},
}
"""Id -> known contract. Contract 1 has a rule of its own: @0 = kind, and the field @kind."""


def field_index(contract: int, name: str) -> int | None:
    """Return the index of a field by its name, or None if the contract has no such field."""
    spec = CONTRACTS.get(contract)
    fields = spec.fields if spec and spec.fields else ()
    return next((field.index for field in fields if field.name == name), None)


def check_contracts(value: Value) -> int:
    """Check all known contracts inside of a canonical value; return how many there are.

    Raises:
        HlxError: E_CONTRACT_FIELD_MISSING, E_CONTRACT_FIELD_TYPE or E_CONTRACT_STRUCTURE.
    """
    found = 0
    for part in _parts(value):
        view = contract_view(part)
        if view is not None and view.id in CONTRACTS:
            check_contract(view)
            found += 1
    return found


def _parts(value: Value) -> Iterator[Value]:
    yield value
    inner: Iterable[Any] = ()
    if type(value) is tuple:
        inner = value
    elif type(value) is dict:
        inner = value.values()
    for item in inner:
        yield from _parts(item)


def check_contract(view: Contract) -> None:
    """Check the fields of one contract by the registry.

    Raises:
        HlxError: As for `check_contracts`.
    """
    spec = CONTRACTS.get(view.id)
    if view.id == 1:
        _check_core_expression(view)
    elif spec is not None and spec.fields is not None:
        for field in spec.fields:
            _check_field(view, field)
        _check_rest(view, len(spec.fields), more_fields=spec.more_fields)


def _check_field(view: Contract, field: FieldSpec) -> None:
    place = f"field @{field.index} ({field.name}) of contract {view.id}"
    if field.index not in view.fields:
        raise HlxError("E_CONTRACT_FIELD_MISSING", place)
    value = view.fields[field.index]
    if not field.accepts(value):
        allowed = " or ".join(field.choices or field.types)
        found = f"{value!r:.40}" if field.choices else kind_name(value)
        raise HlxError("E_CONTRACT_FIELD_TYPE", f"{allowed} in {place}, not {found}")


def _check_rest(view: Contract, num_fields: int, *, more_fields: bool) -> None:
    unknown = [index for index in view.fields if index >= num_fields]
    if unknown and not more_fields:
        raise HlxError(
            "E_CONTRACT_STRUCTURE",
            f"only the {num_fields} known fields in contract {view.id}, not @{unknown[0]}",
        )


def _check_core_expression(view: Contract) -> None:
    kind = view.fields.get(0)
    if type(kind) is not int or not 0 <= kind < len(_KINDS):
        raise HlxError("E_CONTRACT_FIELD_TYPE", "a kind from 0 to 7 in field @0 of contract 1")
    if list(view.fields) != ([0, kind] if kind else [0]):
        raise HlxError("E_CONTRACT_STRUCTURE", f"the fields @0 and @{kind} in contract 1")
    if kind and kind_name(view.fields[kind]) != _KINDS[kind]:
        raise HlxError("E_CONTRACT_FIELD_TYPE", f"{_KINDS[kind]} in field @{kind} of contract 1")


def read_legacy(value: Value, contract: int) -> Value:
    """Return a value of an older file, in which contract 14 stood for the contract named.

    A body of exactly one INT in @0 is an integer literal and stays what it is.

    Raises:
        HlxError: E_CONTRACT_STRUCTURE if `contract` is none of `LEGACY_IDS`.
    """
    if contract not in LEGACY_IDS:
        raise HlxError("E_CONTRACT_STRUCTURE", f"one of the ids {LEGACY_IDS}")
    view = contract_view(value)
    if view is None or view.id != 14:
        return value
    if list(view.fields) == [0] and type(view.fields[0]) is int:
        return value
    read: dict[int, Any] = {contract: dict(view.fields)}
    return read
