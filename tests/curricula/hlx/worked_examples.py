"""The ten worked examples of the specification, in all forms."""

from dataclasses import dataclass
from typing import Any

from constellation.curricula.hlx.values import Handle


@dataclass(frozen=True)
class Example:
    """One value with its texts."""

    value: Any
    english: str
    hlxl: str
    hlx: str
    compact: str
    stream: str
    runic: str
    binary: str
    handle: str


def _handle(name: str) -> Handle:
    return Handle(f"&h_{name}")


EXAMPLES = [
    Example(
        None,
        "Represent nothing",
        "null",
        "null",
        "NULL",
        "[NULL]",
        "∅",
        "00",
        "&h_null_03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314",
    ),
    Example(
        True,
        "Represent true",
        "true",
        "true",
        "TRUE",
        "[TRUE]",
        "⊤",
        "0a",
        "&h_bool_5b4b01a4a3892ea3751793da57f072ae08eec694ddcda872239fc8239e4bcd1b",
    ),
    Example(
        -100,
        "Represent the integer minus one hundred",
        "-100",
        "-100",
        "-100",
        "[INT(-100)]",
        "-100",
        "01 9c ff ff ff ff ff ff ff ff 01",
        "&h_int_15a34854d9c04670df525d1581541bf482197de2108578aa2d1b5bbca5e52496",
    ),
    Example(
        3.14159,
        "Represent the number 3.14159",
        "3.14159",
        "3.14159",
        "3.14159",
        "[FLOAT(3.14159)]",
        "3.14159",
        "02 40 09 21 f9 f0 1b 86 6e",
        "&h_float_eee0649a7543a479a2f3b4a0bf3f7844055d3d9d345b26875c870a0b187c0c17",
    ),
    Example(
        b"data",
        "Represent the bytes 'data'",
        'x"64617461"',
        'x"64617461"',
        "#64617461",
        "[BYTES(64617461)]",
        "⊠64617461",
        "04 04 64 61 74 61",
        "&h_bytes_43daa33f8d78f3c7ba4b1c42a6e72d52534e56fd2ef1faa71116996db4ddc1d7",
    ),
    Example(
        (42, "test", True),
        "List of 42, 'test' and true",
        '[42, "test", true]',
        '[42, "test", true]',
        '[42,"test",TRUE]',
        '[ARR_START, INT(42), TEXT("test"), TRUE, ARR_END]',
        '🜃42, "test", ⊤🜄',
        "05 01 2a 03 04 74 65 73 74 0a 06",
        "&h_array_875a64a217594efd271133d8bfc518f9bedb1b9ba428a1e9d6d415256dedbd4d",
    ),
    Example(
        {"age": 30, "name": "Alice"},
        "User profile with name Alice and age 30",
        '{age: 30, name: "Alice"}',
        '{"age": 30, "name": "Alice"}',
        '{age:30,name:"Alice"}',
        '[OBJ_START, KEY("age"), INT(30), KEY("name"), TEXT("Alice"), OBJ_END]',
        '◇age: 30, name: "Alice"◆',
        "07 03 07 00 01 00 01 05 07 02 07 00 01 00 01 03 03 61 67 65 02 01 1e 08 08 07 02 07 00 01 "
        "01 01 03 04 6e 61 6d 65 02 03 05 41 6c 69 63 65 08 08 06 08 08",
        "&h_object_c72e1975d96ffbb8b0b4dd4d182f8423c86fc7f8be1b4677629751e016994773",
    ),
    Example(
        {14: {0: 42}},
        "Integer literal forty-two",
        "{14: {@0: 42}}",
        '{14: {"@0": 42}}',
        "{C:14,0=42}",
        "[OBJ_START, FIELD_14, OBJ_START, FIELD_0, INT(42), OBJ_END, OBJ_END]",
        "🜊14🜁0 42🜂",
        "07 0e 07 00 01 2a 08 08",
        "&h_contract14_0a1ef5a1717e5aa3edf21fc73c4468ac325e7a9a41254691f0d31b4ece041ebe",
    ),
    Example(
        {1000: {0: "search", 1: _handle("documents")}},
        "Search for documents",
        '{1000: {@0: "search", @1: &h_documents}}',
        '{1000: {"@0": "search", "@1": "&h_documents"}}',
        '{C:1000,0="search",1=@documents}',
        '[OBJ_START, FIELD_1000, OBJ_START, FIELD_0, TEXT("search"), FIELD_1, '
        "HANDLE(&h_documents), OBJ_END, OBJ_END]",
        '🜊1000🜁0 "search"🜁1 ⟁documents🜂',
        "07 e8 07 07 00 03 06 73 65 61 72 63 68 01 09 0c 26 68 5f 64 6f 63 75 6d 65 6e 74 73 08 08",
        "&h_contract1000_ada112c63d36a27ecb605df8d96fec997d9c1b91ae23d7fb3c373f62bcc572a1",
    ),
    Example(
        {902: {0: "cube", 1: (_handle("vert"), _handle("frag")), 2: (), 3: _handle("fb")}},
        "Pipeline cube with a vertex and a fragment stage",
        '{902: {@0: "cube", @1: [&h_vert, &h_frag], @2: [], @3: &h_fb}}',
        '{902: {"@0": "cube", "@1": ["&h_vert", "&h_frag"], "@2": [], "@3": "&h_fb"}}',
        '{C:902,0="cube",1=[@vert,@frag],2=[],3=@fb}',
        '[OBJ_START, FIELD_902, OBJ_START, FIELD_0, TEXT("cube"), FIELD_1, ARR_START, '
        "HANDLE(&h_vert), HANDLE(&h_frag), ARR_END, FIELD_2, ARR_START, ARR_END, FIELD_3, "
        "HANDLE(&h_fb), OBJ_END, OBJ_END]",
        '🜊902🜁0 "cube"🜁1 🜃⟁vert, ⟁frag🜄🜁2 🜃🜄🜁3 ⟁fb🜂',
        "07 86 07 07 00 03 04 63 75 62 65 01 05 09 07 26 68 5f 76 65 72 74 09 07 26 68 5f 66 72 61 "
        "67 06 02 05 06 03 09 05 26 68 5f 66 62 08 08",
        "&h_contract902_044d9ebccb88237b62239c5ec334414543fe31e2ff5868166206f1bd14607351",
    ),
]
