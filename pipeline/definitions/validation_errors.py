"""Turns validation errors of pydantic into messages that name the field."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.definitions.toml_lines import KeyPath

SENTENCES = {
    "missing": "is missing",
    "string_pattern_mismatch": "must not be blank",
    "model_type": "must be a table, for example { seconds = 30 }",
    "too_short": "must name at least one place",
}
"""Messages that replace those of pydantic, by the type of the error."""


@dataclass(frozen=True)
class Fault:
    """A wrong field."""

    path: KeyPath
    """The path of the field in its table."""
    sentence: str

    def __str__(self) -> str:
        field = ".".join(part for part in self.path if isinstance(part, str))
        return f"{field}: {self.sentence}" if field else self.sentence


def faults_of(error: ValidationError, model: type[BaseModel]) -> Iterator[Fault]:
    """Yield each wrong field once; pydantic reports every member of a union."""
    seen = set()
    for details in error.errors():
        for fault in _faults(details, model):
            if fault.path not in seen:
                seen.add(fault.path)
                yield fault


def _faults(details: ErrorDetails, model: type[BaseModel]) -> Iterator[Fault]:
    path, kind = details["loc"], details["type"]
    if kind == "conflict":
        for field, sentence in details["ctx"]["conflicts"]:
            yield Fault((*path, field), sentence)
    elif kind == "extra_forbidden":
        known = _keys_at(path[:-1], model)
        near = get_close_matches(str(path[-1]).lower(), known, 1)
        advice = f'did you mean "{near[0]}"?' if near else "remove it"
        yield Fault(path, f"is not a valid key; {advice}")
    else:
        message = details["msg"].removeprefix("Value error, ")
        sentence = re.sub(r"^(Input|String|List|Value) should", "must", message)
        yield Fault(path, SENTENCES.get(kind, sentence))


def _keys_at(path: KeyPath, model: type[BaseModel]) -> list[str]:
    """Return the keys of a model, or of an inline table in it."""
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        (model,) = (
            kind
            for kind in (annotation, *getattr(annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return list(model.model_fields)
