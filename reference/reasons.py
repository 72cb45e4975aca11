"""The tables of reason codes and warnings."""

from collections.abc import Mapping

from pipeline.catalogue.reasons import Explanation
from reference.attribute_docs import link_pages
from reference.markdown import code, table


def reasons_table(explanations: Mapping[str, Explanation]) -> str:
    """Return a table with the meaning of each code and the advice about it."""
    rows = [
        (
            code(name) + (" *(check)*" if explanation.needs_check else ""),
            explanation.meaning,
            link_pages(explanation.advice),
        )
        for name, explanation in explanations.items()
    ]
    return table(("code", "meaning", "what to do"), rows)
