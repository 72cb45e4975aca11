"""Turns the lookups of a query string into SQL conditions, for each type of field.

A lookup parses a text into values and a test. Requests with the same tests have the same SQL and differ in parameters.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    ScalarSelect,
    SmallInteger,
    Text,
    Uuid,
    any_,
    func,
    select,
    type_coerce,
)
from sqlalchemy.types import TypeEngine

from pipeline.catalogue.access import Access, Caller
from pipeline.errors import CatalogueError

TEXT_PATTERN = r"^[^\u0000]*$"
BLANK = r"[\s\u001c-\u001f\u0085]"
"""A character that str.strip removes, as a regular expression for any language."""


def optional_pattern(pattern: str) -> str:
    """Return the regular expression of a parameter that matches a pattern or is empty; blanks may surround it."""
    return f"^{BLANK}*({pattern})?{BLANK}*$"


def any_case_pattern(word: str) -> str:
    """Return the regular expression of a word in upper, lower or mixed case."""
    return "".join(f"[{letter.upper()}{letter.lower()}]" for letter in word)


TRUE_OR_FALSE = f"{any_case_pattern('true')}|{any_case_pattern('false')}|0|1"
BOOLEAN_PATTERN = optional_pattern(TRUE_OR_FALSE)
HEX = "[0-9a-fA-F]"
CANONICAL_PATTERN = f"{HEX}{{8}}(-{HEX}{{4}}){{3}}-{HEX}{{12}}"
UUID_PATTERN = f"({CANONICAL_PATTERN}|{HEX}{{32}})"
DAY = (
    "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
)
HOUR, SIXTIETH = "([01][0-9]|2[0-3])", "[0-5][0-9]"
TIMESTAMP = re.compile(
    f"(?P<day>{DAY})([T ](?P<time>{HOUR}:{SIXTIETH}(:{SIXTIETH}([.,][0-9]{{1,9}})?)?)"
    f"([Zz]| ?(?P<sign>[+ -])(?P<offset>{HOUR}(:?{SIXTIETH})?))?)?"
)
TIMESTAMP_PATTERN = re.sub(r"\?P<\w+>", "", TIMESTAMP.pattern)
"""A time as a regular expression for JSON Schema. It does not check the lengths of months."""


class BadValue(CatalogueError):
    """A parameter or field has an invalid value. The message names the valid values."""


Test = Callable[[Any, Sequence[Any], Caller], ColumnElement[bool]]
"""(column, values or their parameters, caller) -> condition."""


@dataclass(frozen=True)
class BoundTest:
    """A test with the values of a request. The SQL depends only on the number of values; they are its parameters."""

    test: Test
    values: tuple[Any, ...] = ()


Lookup = Callable[[str], BoundTest]
"""Parses the text of a parameter; raises BadValue."""


def one_value(parse: Callable[[str], Any], test: Callable[[Any, Any], Any]) -> Lookup:
    """Return a lookup that compares the column with one parsed value."""

    def compare(column: Any, values: Sequence[Any], _: Caller) -> ColumnElement[bool]:
        condition: ColumnElement[bool] = test(column, values[0])
        return condition

    return lambda text: BoundTest(compare, (parse(text),))


def true_or_false(when_true: Test, when_false: Test) -> Lookup:
    """Return a lookup with one test for true and another for false."""
    return lambda text: BoundTest(when_true if parse_boolean(text) else when_false)


@dataclass(frozen=True)
class FilterKind:
    """The type of a filter: its lookups and the form of its values."""

    lookups: Mapping[str, Lookup]
    """Suffix -> lookup; the suffix "" means the name alone."""
    pattern: str
    """Regular expression of a value; an empty value does not filter."""
    example: str
    patterns: Mapping[str, str] = field(default_factory=dict)
    """Suffix -> pattern, for lookups whose values have another form."""

    def schema(self, lookup: str) -> dict[str, Any]:
        """Return the JSON Schema of the values of a lookup."""
        if lookup in self.patterns:
            return {"type": "string", "pattern": self.patterns[lookup]}
        return {"type": "string", "pattern": self.pattern, "examples": [self.example]}


def split_list(value: str) -> list[str]:
    """Split a text at commas; return the parts that are not empty, without surrounding blanks."""
    return [stripped for part in value.split(",") if (stripped := part.strip())]


def list_pattern(pattern: str) -> str:
    """Return the regular expression of a list whose parts, split by `split_list`, match a pattern."""
    part = f"{BLANK}*(({pattern}){BLANK}*)?"
    return f"^{part}(,{part})*$"


def parse_boolean(value: str) -> bool:
    """Parse true, false, 1 or 0, in any case."""
    values = {"true": True, "1": True, "false": False, "0": False}
    try:
        return values[value.lower()]
    except KeyError as error:
        raise BadValue("Must be true or false.") from error


def parse_canonical_uuid(value: str) -> UUID:
    """Parse a uuid in its 8-4-4-4-12 form, in any case."""
    if not re.fullmatch(CANONICAL_PATTERN, value):
        raise BadValue("Must be uuids in their canonical form (8-4-4-4-12), separated by commas.")
    return UUID(value)


def parse_uuid(value: str) -> UUID:
    """Parse a uuid, with or without dashes."""
    if not re.fullmatch(UUID_PATTERN, value):
        raise BadValue("Must be a valid UUID.")
    return UUID(value)


NOT_A_TIMESTAMP = "Must be a time such as 2016-06-21T06:05:00Z, with an offset, or a date."


def parse_timestamp(value: str) -> datetime:
    """Parse a time in ISO 8601, or a date, which is midnight in UTC.

    A time without Z or an offset is UTC. A + that was decoded as a space is accepted.
    """
    match = TIMESTAMP.fullmatch(value.strip())
    if not match:
        raise BadValue(NOT_A_TIMESTAMP)
    sign = "-" if match["sign"] == "-" else "+"
    text = f"{match['day']}T{match['time'] or '00:00'}{sign}{match['offset'] or '00'}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadValue(NOT_A_TIMESTAMP) from error


def parse_access(value: str) -> int:
    """Parse the name or the number of an access modifier."""
    names = {name.lower(): int(access) for name, access in Access.__members__.items()}
    numbers = {str(int(access)): int(access) for access in Access}
    try:
        return (names | numbers)[value.strip().lower()]
    except KeyError as error:
        raise BadValue(
            f"Must be one of {', '.join(Access.__members__)}, or 0, 100, 200, 300."
        ) from error


def escape_like(value: str) -> str:
    """Return a LIKE pattern that matches exactly the value."""
    return re.sub(r"([\\%_])", r"\\\1", value)


def comparisons(parse: Callable[[str], Any]) -> dict[str, Lookup]:
    """Return the lookups that compare the field with a parsed value."""
    tests = {
        "": operator.eq, "exact": operator.eq, "lt": operator.lt, "lte": operator.le, "gt": operator.gt,
        "gte": operator.ge,
    }  # fmt: skip
    return {suffix: one_value(parse, test) for suffix, test in tests.items()}


def like_lookup(before: str, after: str) -> Lookup:
    """Return a case-sensitive LIKE lookup, with the wildcards `before` and `after` the value."""
    return one_value(
        lambda text: before + escape_like(text) + after,
        lambda column, pattern: column.like(in_subquery(type_coerce(pattern, Text()))),
    )


def ilike_lookup(before: str, after: str) -> Lookup:
    """Return the same lookup ignoring case, in the form that the trigram indexes need."""
    return one_value(
        lambda text: before + escape_like(text) + after,
        lambda column, pattern: func.upper(column).like(in_subquery(func.upper(pattern))),
    )


def in_subquery(pattern: ColumnElement[str]) -> ScalarSelect[str]:
    """Return a pattern as a subquery, so that the plan of PostgreSQL does not depend on the pattern."""
    return select(pattern).scalar_subquery()


IS_NULL = true_or_false(
    lambda column, _, __: column.is_(None), lambda column, _, __: column.is_not(None)
)
"""Whether the field is null."""


def regex_lookup(symbol: str) -> Lookup:
    """Return a lookup by a POSIX regular expression in the syntax of PostgreSQL."""
    return one_value(str, lambda column, value: column.bool_op(symbol)(value))


def one_of(parse: Callable[[str], Any], kind: TypeEngine[Any]) -> Lookup:
    """Return a lookup for one of several values; they are a single array parameter of the statement."""
    return one_value(
        lambda text: [parse(part) for part in split_list(text)],
        lambda column, values: column == any_(type_coerce(values, ARRAY(kind))),
    )


TEXT = FilterKind(
    {
        "": one_value(str, operator.eq),
        "exact": one_value(str, operator.eq),
        "iexact": one_value(str, lambda column, value: func.upper(column) == func.upper(value)),
        "contains": like_lookup("%", "%"),
        "icontains": ilike_lookup("%", "%"),
        "startswith": like_lookup("", "%"),
        "istartswith": ilike_lookup("", "%"),
        "endswith": like_lookup("%", ""),
        "iendswith": ilike_lookup("%", ""),
        "in": one_of(str, Text()),
        "regex": regex_lookup("~"),
        "iregex": regex_lookup("~*"),
        "isnull": IS_NULL,
    },
    TEXT_PATTERN,
    "Elevation",
    {"isnull": BOOLEAN_PATTERN},
)


PART = f"-*({HEX}-*){{1,32}}"


def parse_part(value: str) -> str:
    """Parse a part of a uuid, with or without dashes, into a LIKE pattern."""
    if not re.fullmatch(PART, value):
        raise BadValue("Must be a uuid or a part of one.")
    return f"%{value.replace('-', '').lower()}%"


UUIDS = FilterKind(
    dict.fromkeys(("", "exact", "in"), one_of(parse_canonical_uuid, Uuid())),
    list_pattern(CANONICAL_PATTERN),
    "10415ccb-ec31-4d43-bdb3-db597061527b",
)
ANY_UUIDS = FilterKind(
    dict.fromkeys(("", "exact", "in"), one_of(parse_uuid, Uuid())),
    list_pattern(UUID_PATTERN),
    "61f5a464c35044c19bc7d4b42d7f58cb",
)
PART_OF_UUID = FilterKind(
    {
        "": one_value(
            parse_part,
            lambda column, pattern: func.replace(func.text(column), "-", "").like(pattern),
        )
    },
    optional_pattern(PART),
    "61f5a464",
)


def between(value: str) -> BoundTest:
    """Test for a time between two times, both included."""
    times = tuple(parse_timestamp(part) for part in split_list(value))
    if len(times) != 2:
        raise BadValue("Must be two times, separated by a comma.")
    return BoundTest(_is_between, times)


def _is_between(column: Any, values: Sequence[Any], _: Caller) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = column.between(*values)
    return condition


GAP = f"{BLANK[:-1]},]*"
ONE_OF_TWO = TIMESTAMP_PATTERN.replace("[.,]", "[.]")
RANGE = f"^({BLANK}*|{GAP}{ONE_OF_TWO}{BLANK}*,{GAP}{ONE_OF_TWO}{GAP})$"
"""Two times, separated by a comma; so a comma cannot be the decimal separator of seconds."""
TIME = FilterKind(
    {**comparisons(parse_timestamp), "range": between, "isnull": IS_NULL},
    optional_pattern(TIMESTAMP_PATTERN),
    "2016-06-21T06:05:00Z",
    {"isnull": BOOLEAN_PATTERN, "range": RANGE},
)


SIZE_PATTERN = "[0-9]{1,18}"


def parse_size(value: str) -> int:
    """Parse a number of bytes."""
    if not re.fullmatch(SIZE_PATTERN, value):
        raise BadValue("Must be a whole number of at most 18 digits.")
    return int(value)


SIZE = FilterKind(
    {**comparisons(parse_size), "isnull": IS_NULL},
    optional_pattern(SIZE_PATTERN),
    "1000000",
    {"isnull": BOOLEAN_PATTERN},
)


SAME_BOOLEAN = true_or_false(
    lambda column, _, __: column.is_(True), lambda column, _, __: column.is_(False)
)
"""Whether the field is true, or false."""
BOOLEAN = FilterKind({"": SAME_BOOLEAN, "exact": SAME_BOOLEAN}, BOOLEAN_PATTERN, "true")

ACCESS_PATTERN = "|".join(
    [*map(any_case_pattern, Access.__members__), *(str(int(access)) for access in Access)]
)
ACCESS = FilterKind(
    {
        "": one_value(parse_access, operator.eq),
        "exact": one_value(parse_access, operator.eq),
        "in": one_of(parse_access, SmallInteger()),
    },
    optional_pattern(ACCESS_PATTERN),
    "Private",
    {"in": list_pattern(ACCESS_PATTERN)},
)


def choice_kind(*names: str) -> FilterKind:
    """Return the type of a filter whose value is one of a few words."""

    def parse(value: str) -> str:
        if value not in names:
            raise BadValue(f"Must be one of {', '.join(names)}.")
        return value

    test = one_value(parse, operator.eq)
    return FilterKind({"": test, "exact": test}, optional_pattern("|".join(names)), names[0])


def custom_kind(test: Lookup, example: str = "true", pattern: str = BOOLEAN_PATTERN) -> FilterKind:
    """Return the type of a filter with one lookup without a suffix; by default its value is a boolean."""
    return FilterKind({"": test}, pattern, example)
