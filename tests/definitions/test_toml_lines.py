"""The lines of keys in TOML documents that tomllib can read."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from pipeline.definitions.toml_lines import KeyPath, line_of, lines_of

DOCUMENT = '''\
# [[source]]
title = "a = [ # no comment"

[[source]]   # the first
id = 'one'
"quoted key" = """
[[source]]
id = "not a key" \\"""
"""
[source.limits]
pixels = 1

[[ source ]]
files = [
  "a", # ] "
  'b]',
]
limits = { pixels = 1, seconds = 2 }
a.b . "c" = 1979-05-27T07:32:00Z
[[drop]]
id = ''\'''two'\'''
'''


def test_each_key_has_its_line() -> None:
    assert lines_of(DOCUMENT) == {
        ("title",): 2,
        ("source", 0): 4,
        ("source", 0, "id"): 5,
        ("source", 0, "quoted key"): 6,
        ("source", 0, "limits"): 10,
        ("source", 0, "limits", "pixels"): 11,
        ("source", 1): 13,
        ("source", 1, "files"): 14,
        ("source", 1, "limits"): 18,
        ("source", 1, "a"): 19,
        ("source", 1, "a", "b"): 19,
        ("source", 1, "a", "b", "c"): 19,
        ("drop", 0): 20,
        ("drop", 0, "id"): 21,
    }


def test_a_value_without_its_own_line_has_that_of_its_table() -> None:
    lines = lines_of(DOCUMENT)
    assert line_of(("source", 1, "limits", "seconds"), lines) == 18
    assert line_of(("source", 1, "id"), lines) == 13
    assert line_of(("nothing",), lines) == 1


VALUES = st.sampled_from(
    [
        "1", "-1.5e3", "true", "07:32:00", "1979-05-27 07:32:00", '""', "''", '"\\\\"', '"\\""', "'\\'", '"#["',
        "[]", "[[1], [2, 'x']]", '{a = "}", b = [1]}', "[ # [\n\n 1, # ]\n]", '"""\n"""', "'''\n[[source]]\n'''",
        '"""a\\\n  b"""', '""" "" \\""""', "'''''a'''''", '"""x"""""',
    ]
)  # fmt: skip
KEYS = st.sampled_from(["bare", "-", "1", '"with blank"', "'[source]'", '"a\\"b"', '"="'])
NAMES = {"'[source]'": "[source]", '"with blank"': "with blank", '"a\\"b"': 'a"b', '"="': "="}
BLANKS = st.sampled_from(["", "\n", "# a = 1\n", "  # [[source]]\n\n", "\t\n"])
ENDS = st.sampled_from(["\n", " # comment\n", "\r\n"])
TABLES = st.lists(
    st.tuples(st.dictionaries(KEYS, st.tuples(BLANKS, VALUES, ENDS)), BLANKS, ENDS), max_size=4
)


@given(TABLES)
def test_lines_of_any_document_agree_with_tomllib(tables: list) -> None:  # type: ignore[type-arg]
    text = ""
    expected: dict[KeyPath, int] = {}
    for index, (fields, blanks, end) in enumerate(tables):
        text += blanks
        expected[("source", index)] = text.count("\n") + 1
        text += f"[[source]]{end}"
        for key, (before, value, after) in fields.items():
            text += before
            expected[("source", index, NAMES.get(key, key))] = text.count("\n") + 1
            text += f"{key} = {value}{after}"
    parsed = tomllib.loads(text).get("source", [])
    assert [set(table) for table in parsed] == [
        {NAMES.get(key, key) for key in fields} for fields, _, _ in tables
    ]
    assert lines_of(text) == expected
