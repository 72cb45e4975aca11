"""What may stand in the query string of a URL: explained to people, and the parameters that nobody knows."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.api.query_string import DRY_RUN, FORMAT, is_dry_run_name
from pipeline.catalogue.filters import Filter, filters_by_parameter

if TYPE_CHECKING:
    from pipeline.api.endpoint import Endpoint

MOST_WARNINGS = 5
LONGEST_NAME = 60
PAGE_METHOD = "_method"
"""By which the OPTIONS button of a page says what it asks for."""
PLAIN = "!#$&'()*+/:;<=>?@[]^`{|} "
"""What is not percent-encoded, besides letters, digits and -._~; commas, quotes and backslashes are."""


def explain(endpoint: "Endpoint") -> Iterator[tuple[str, str]]:
    """Each parameter of a URL with its meaning."""
    for one in endpoint.filters:
        yield one.name, explain_filter(one)
    for name, _, meaning in endpoint.parameters:
        yield name, meaning


def explain_filter(one: Filter) -> str:
    """The meaning of a filter, with the lookups that it knows."""
    lookups = [name for name in one.kind.lookups if name]
    if lookups in ([], ["exact"]):
        return one.help
    default = " (the default)" if "exact" in lookups else ""
    return f"{one.help} Lookups: {', '.join(lookups).replace('exact', f'exact{default}', 1)}."


def known_parameters(endpoint: "Endpoint") -> frozenset[str]:
    """Every parameter that a URL reads."""
    named = [name for name, _, _ in (FORMAT, DRY_RUN, *endpoint.parameters)]
    return frozenset([*named, *filters_by_parameter(tuple(endpoint.filters))])


def unknown_parameters(query: Mapping[str, str], known: frozenset[str]) -> list[str]:
    """A sentence on each parameter that its URL does not know, fit for the quoted string of a header.

    A name is given as in a URL: whatever else than printable ASCII it holds is percent-encoded.
    """
    known_here = known | {PAGE_METHOD}
    names = [name for name in query if name not in known_here and not is_dry_run_name(name)]
    sentences = [
        f"The parameter {shown_name(name)} is not known and is ignored; "
        f"the nearest known one is {nearest(name, known)}."
        for name in names[:MOST_WARNINGS]
    ]
    more = len(names) - MOST_WARNINGS
    return [*sentences, f"{more} more parameters are not known."] if more > 0 else sentences


def shown_name(name: str) -> str:
    """A name as in a URL, cut where it is long."""
    cut = "..." if len(name) > LONGEST_NAME else ""
    return quote(name[:LONGEST_NAME], safe=PLAIN, errors="replace") + cut


def nearest(name: str, known: frozenset[str]) -> str:
    """The known parameter that looks most like a name."""
    (found,) = get_close_matches(name[:LONGEST_NAME].lower(), sorted(known), n=1, cutoff=0)
    return found


def warning(sentences: Sequence[str]) -> dict[str, str]:
    """The header Warning of RFC 7234: each sentence as a warning of its own, by nobody in particular."""
    return {"Warning": ", ".join(f'299 - "{one}"' for one in sentences)} if sentences else {}
