"""Parses the text form of CQL2 (OGC 21-065r2, annex B) into the JSON form.

Each token is read once, so that the time is proportional to the length of the text. `pipeline/catalogue/cql2.py` checks
names and types.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import shapely

from pipeline.catalogue.lookups import BadValue
from pipeline.catalogue.spatial_filters import parse_geometry

MAX_TEXT = 8_000
"""Maximum number of characters of a filter in the text form."""
MAX_DEPTH = 32
"""Maximum levels of brackets in a text, and of operators in JSON."""
TOKEN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<geometry>(?:(?:MULTI)?(?:POINT|LINESTRING|POLYGON)|GEOMETRYCOLLECTION)\s*(?:Z\s*)?\()
      | (?P<number>(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)(?:E[+-]?[0-9]+)?)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<name>(?:[^\W\d]|:)[\w:.]*)
      | (?P<sign><=|>=|<>|[-+*/%^=<>(),])
      | (?P<wrong>.)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
KEYWORDS = {"AND", "OR", "NOT", "LIKE", "BETWEEN", "IN", "IS", "NULL", "TRUE", "FALSE", "DIV"}
COMPARISONS = ("=", "<>", "<=", ">=", "<", ">")
Json = Any


class Token(NamedTuple):
    """A part of a text."""

    kind: str
    text: str
    """Keywords are in upper case."""
    place: int


def parse_text(text: str) -> Json:
    """Parse a filter in the text form into the JSON form; raise BadValue."""
    if len(text) > MAX_TEXT:
        raise BadValue(
            f"A filter as text may have at most {MAX_TEXT} characters; send a longer one as cql2-json."
        )
    return _Parser(text).parse()


def _tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text, and a token for its end. A geometry is one token."""
    place = 0
    while match := TOKEN.match(text, place):
        kind, word = str(match.lastgroup), match[0]
        if kind == "geometry":
            word = _whole_geometry(text, place)
        elif kind == "name" and word.upper() in KEYWORDS:
            kind, word = "sign", word.upper()
        if kind != "blank":
            yield Token(kind, word, place)
        place += len(word)
    yield Token("end", "", len(text))


def _whole_geometry(text: str, start: int) -> str:
    """Return the text of a geometry up to its closing bracket; without that bracket, up to the end of the text."""
    depth = 0
    for bracket in re.compile("[()]").finditer(text, start):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return text[start : bracket.end()]
    return text[start:]


def _operation(op: str, *arguments: Json) -> Json:
    return {"op": op, "args": list(arguments)}


class _Parser:
    """Reads the tokens of a text from left to right, with one method for each level of the grammar."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.next]

    def take(self, *signs: str) -> str:
        """Return the next token and advance if it is one of these; otherwise return an empty text."""
        if self.token.kind != "sign" or self.token.text not in signs:
            return ""
        self.next += 1
        return self.tokens[self.next - 1].text

    def expect(self, sign: str) -> None:
        """Advance beyond a sign; raise BadValue if the next token is another one."""
        if not self.take(sign):
            raise self.wrong()

    def wrong(self) -> BadValue:
        """Return the error for the next token."""
        return BadValue(f"The filter is not valid CQL2 at character {self.token.place + 1}.")

    def nested(self, read: Callable[[], Json]) -> Json:
        """Parse one level deeper, within brackets or after NOT; raise BadValue if there are too many levels."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadValue(f"The filter has more than {MAX_DEPTH} levels of brackets.")
        node = read()
        self.depth -= 1
        return node

    def parse(self) -> Json:
        node = self.condition()
        if self.token.kind != "end":
            raise self.wrong()
        return node

    def condition(self) -> Json:
        return self.several("or", lambda: self.several("and", self.negation))

    def several(self, op: str, read: Callable[[], Json]) -> Json:
        parts = [read()]
        while self.take(op.upper()):
            parts.append(read())
        return _operation(op, *parts) if len(parts) > 1 else parts[0]

    def negation(self) -> Json:
        if self.take("NOT"):
            return _operation("not", self.nested(self.negation))
        return self.predicate()

    def predicate(self) -> Json:
        first = self.sum()
        if sign := self.take(*COMPARISONS):
            return _operation(sign, first, self.sum())
        negated = self.take("NOT")
        if self.take("LIKE"):
            test = _operation("like", first, self.sum())
        elif self.take("BETWEEN"):
            low = self.sum()
            self.expect("AND")
            test = _operation("between", first, low, self.sum())
        elif self.take("IN"):
            test = _operation("in", first, self.listed())
        elif not negated and self.take("IS"):
            negated = self.take("NOT")
            self.expect("NULL")
            test = _operation("isNull", first)
        elif negated:
            raise self.wrong()
        else:
            return first
        return _operation("not", test) if negated else test

    def sum(self) -> Json:
        return self.chained(("+", "-"), self.product)

    def product(self) -> Json:
        return self.chained(("*", "/", "%", "DIV"), lambda: self.chained(("^",), self.signed))

    def chained(self, signs: tuple[str, ...], read: Callable[[], Json]) -> Json:
        left = read()
        while sign := self.take(*signs):
            left = _operation(sign.lower(), left, read())
        return left

    def signed(self) -> Json:
        sign = self.take("+", "-")
        value = self.value()
        if sign != "-":
            return value
        return -value if isinstance(value, float) else _operation("*", -1, value)

    def value(self) -> Json:
        """Parse an operand."""
        if self.take("("):
            operand = self.nested(self.condition)
            self.expect(")")
            return operand
        if word := self.take("TRUE", "FALSE"):
            return word == "TRUE"
        if self.take("DIV"):  # the Python package cql2 writes DIV as a function
            return self.call("div")
        token, self.next = self.token, self.next + 1
        if token.kind == "number":
            return float(token.text)
        if token.kind == "text":
            return token.text[1:-1].replace("''", "'")
        if token.kind == "quoted":
            return {"property": token.text[1:-1].replace('""', '"')}
        if token.kind == "geometry":
            return shapely.geometry.mapping(parse_geometry(token.text))
        if token.kind == "name":
            is_call = self.token.text == "("
            return self.call(token.text.lower()) if is_call else {"property": token.text}
        self.next -= 1
        raise self.wrong()

    def call(self, name: str) -> Json:
        """Parse a function with its arguments, or a literal in the form of a function."""
        arguments = self.listed()
        if name in ("date", "timestamp") and len(arguments) == 1:
            return {name: arguments[0]}
        return {name: arguments} if name in ("interval", "bbox") else _operation(name, *arguments)

    def listed(self) -> list[Json]:
        """Parse a list within brackets, with commas between its entries."""
        self.expect("(")
        if self.take(")"):
            return []
        entries = [self.nested(self.condition)]
        while self.take(","):
            entries.append(self.nested(self.condition))
        self.expect(")")
        return entries
