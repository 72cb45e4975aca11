"""What is wrong with the tables of a `sources.toml`, in sentences that name the field."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

SENTENCES = {
    "missing": "is missing",
    "string_pattern_mismatch": "must not be blank",
    "model_type": "is a table, for example { seconds = 30 }",
    "too_short": "must name at least one place",
}
"""What pydantic says less well."""


@dataclass(frozen=True)
class Fault:
    """One field that must change."""

    place: tuple[str | int, ...]
    """Where in the table the field is."""
    sentence: str

    def __str__(self) -> str:
        field = ".".join(str(part) for part in self.place if isinstance(part, str))
        return f"{field}: {self.sentence}" if field else self.sentence


def faults_of(error: ValidationError, model: type[BaseModel]) -> Iterator[Fault]:
    """All that a table breaks of its model, each field once."""
    seen = set()
    for details in error.errors():
        for fault in faults_of_one(details, model):
            if fault.place not in seen:  # each member of a union complains by itself
                seen.add(fault.place)
                yield fault


def faults_of_one(details: ErrorDetails, model: type[BaseModel]) -> Iterator[Fault]:
    """One of pydantic's errors."""
    place, kind = details["loc"], details["type"]
    if kind == "disagreement":
        yield from (Fault((*place, field), sentence) for field, sentence in details["ctx"]["found"])
    elif kind == "extra_forbidden":
        yield Fault(place, unknown(str(place[-1]), list(fields_at(place[:-1], model))))
    else:
        message = details["msg"].removeprefix("Value error, ")
        sentence = re.sub(r"^(Input|String|List|Value) should", "must", message)
        yield Fault(place, SENTENCES.get(kind, sentence))


def unknown(key: str, known: list[str]) -> str:
    """What to do about a key that nobody knows."""
    near = get_close_matches(key.lower(), known, 1)
    return (
        f'is not a key here; did you mean "{near[0]}"?' if near else "is not a key here; remove it"
    )


def fields_at(place: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """The keys of a model, or of the inline table at a place in it."""
    for part in place:
        annotation = model.model_fields[str(part)].annotation
        (model,) = (
            kind
            for kind in (annotation, *getattr(annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return list(model.model_fields)
