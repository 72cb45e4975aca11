"""Builds the filter bar of the catalogue from the filters of the API; the names are the same, so a URL fits both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.api.pages import Control, offered_parameters
from pipeline.api.site.site_page import changed_query
from pipeline.catalogue.access import Access
from pipeline.catalogue.filters import Filter, filters_by_parameter

FIRST = {
    "name__icontains": "Name contains",
    "organisation__name__icontains": "Organisation contains",
    "temporal": "Kind",
    "access_modifier": "Who may see it",
    "in_bbox": "Within a box",
}
"""Parameters that the bar always shows, and their labels."""
CHOICES: Mapping[str, Sequence[tuple[str, str]]] = {
    "temporal": (("true", "Series in time"), ("false", "Without time")),
    "access_modifier": tuple((name, name) for name in Access.__members__),
    "writable": (("true", "yes"), ("false", "no")),
    "scenario__isnull": (("false", "yes"), ("true", "no")),
    "supplier__isnull": (("true", "yes"), ("false", "no")),
}
"""Parameters with few values, and the labels of these values."""
WORDS = {"icontains": "contains", "gte": "from", "lte": "until", "isnull": "is empty"}
LABELS = {"scenario__isnull": "Used in a scenario", "supplier__isnull": "Without a supplier"}
NOT_SHOWN = ("bbox", "organisation__uuid")
"""Labels of other filters."""


@dataclass(frozen=True)
class Chip:
    """An active filter, and the URL without it."""

    text: str
    without: str


@dataclass(frozen=True)
class FilterBar:
    """The filters above the table."""

    first: Sequence[Control]
    more: Sequence[Control]
    hidden: Mapping[str, str]
    """Parameters without an input; the form sends them as hidden fields."""
    chips: Sequence[Chip]

    @property
    def more_is_active(self) -> bool:
        """Whether a filter below `More filters` has a value."""
        return any(control.value for control in self.more)


def make_filter_bar(filters: tuple[Filter, ...], query: Mapping[str, str]) -> FilterBar:
    """Return the bar for the query string of a page."""
    by_parameter = filters_by_parameter(filters)
    more = [
        name
        for name, filter in offered_parameters(filters)
        if name not in FIRST and filter.name not in NOT_SHOWN
    ]
    controls = {name: _control(name, *by_parameter[name], query) for name in (*FIRST, *more)}
    active = {name: text for name, text in query.items() if text}
    hidden = {
        name: text for name, text in active.items() if name not in controls and name != "page"
    }
    return FilterBar(
        [controls[name] for name in FIRST],
        [controls[name] for name in more],
        hidden,
        [
            Chip(_explain(name, *by_parameter[name], text), changed_query(active, page=None, **{name: None}) or "?")
            for name, text in active.items()
            if name in by_parameter
        ],
    )  # fmt: skip


def _control(name: str, filter: Filter, lookup: str, query: Mapping[str, str]) -> Control:
    return Control(
        name,
        query.get(name, ""),
        filter.kind.example,
        filter.help,
        FIRST.get(name) or _label(name, filter, lookup),
        CHOICES.get(name, ()),
    )


def _label(name: str, filter: Filter, lookup: str) -> str:
    if name in LABELS:
        return LABELS[name]
    words = filter.name.replace("__", " ").replace("_", " ").replace("uuid", "UUID")
    return f"{words[:1].upper()}{words[1:]} {WORDS.get(lookup, lookup)}".rstrip()


def _explain(name: str, filter: Filter, lookup: str, text: str) -> str:
    """Return an active filter in words: Name contains depth."""
    shown = dict(CHOICES.get(name, ())).get(text, text)
    if len(shown) > 40:
        shown = f"{shown[:39]}…"
    label = "Box" if filter.name in ("in_bbox", "bbox") else _label(name, filter, lookup)
    if name in ("temporal", "access_modifier"):
        return shown
    return f"{label} {shown}" if lookup in WORDS else f"{label}: {shown}"
