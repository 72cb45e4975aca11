"""The tables of reason codes and warnings."""

from collections.abc import Mapping

from pipeline.catalogue.reasons import Explanation
from reference.attribute_docs import link_pages
from reference.markdown import code, table


def reasons_table(explanations: Mapping[str, Explanation]) -> str:
    """Return the table of codes."""
    rows = [
        (
            code(name) + (" *(check)*" if one.needs_check else ""),
            one.meaning,
            link_pages(one.advice),
        )
        for name, one in explanations.items()
    ]
    return table(("code", "meaning", "what to do"), rows)
