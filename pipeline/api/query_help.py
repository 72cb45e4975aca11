"""Explains the parameters of a query string, and warns about unknown ones."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from urllib.parse import quote

from pipeline.api.query_string import DRY_RUN, FORMAT, Parameter, is_dry_run_name
from pipeline.catalogue.filters import Filter, filters_by_parameter

MAX_WARNINGS = 5
MAX_NAME_LENGTH = 60
PAGE_METHOD = "_method"
"""The parameter of the OPTIONS button of a page."""
UNQUOTED = "!#$&'()*+/:;<=>?@[]^`{|} "
"""Characters, other than letters, digits and -._~, that are not percent-encoded; comma, quote and backslash are."""


def explain_parameters(
    filters: Sequence[Filter], parameters: Sequence[Parameter]
) -> Iterator[tuple[str, str]]:
    """Yield each parameter of a URL with its meaning."""
    for filter in filters:
        yield filter.name, explain_filter(filter)
    for name, _, meaning in parameters:
        yield name, meaning


def explain_filter(filter: Filter) -> str:
    """Return the meaning of a filter and its lookups."""
    lookups = [name for name in filter.kind.lookups if name]
    if lookups in ([], ["exact"]):
        return filter.help
    names = ", ".join(lookups).replace("exact", "exact (the default)", 1)
    return f"{filter.help} Lookups: {names}."


def known_parameters(filters: Sequence[Filter], parameters: Sequence[Parameter]) -> frozenset[str]:
    """Return the names of all parameters that a URL accepts."""
    names = [name for name, _, _ in (FORMAT, DRY_RUN, *parameters)]
    return frozenset([*names, *filters_by_parameter(tuple(filters))])


def warn_of_unknown(query: Mapping[str, str], known: frozenset[str]) -> list[str]:
    """Return a sentence about each unknown parameter, for the quoted string of the header Warning.

    In names everything except printable ASCII is percent-encoded, as in a URL.
    """
    accepted = known | {PAGE_METHOD}
    names = [name for name in query if name not in accepted and not is_dry_run_name(name)]
    sentences = [
        f"The parameter {quote_name(name)} is unknown and was ignored; "
        f"the nearest known one is {nearest(name, known)}."
        for name in names[:MAX_WARNINGS]
    ]
    more = len(names) - MAX_WARNINGS
    return [*sentences, f"{more} more parameters are unknown."] if more > 0 else sentences


def quote_name(name: str) -> str:
    """Return a name, percent-encoded and cut at `MAX_NAME_LENGTH`."""
    cut = "..." if len(name) > MAX_NAME_LENGTH else ""
    return quote(name[:MAX_NAME_LENGTH], safe=UNQUOTED, errors="replace") + cut


def nearest(name: str, known: frozenset[str]) -> str:
    """Return the known parameter that is most similar to a name."""
    return get_close_matches(name[:MAX_NAME_LENGTH].lower(), sorted(known), n=1, cutoff=0)[0]


def warning_header(sentences: Sequence[str]) -> dict[str, str]:
    """Return the header Warning of RFC 7234, with code 299 and no agent for each sentence."""
    value = ", ".join(f'299 - "{sentence}"' for sentence in sentences)
    return {"Warning": value} if value else {}
