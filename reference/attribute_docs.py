"""The docstrings below the fields of a class."""

import ast
import inspect
import re
from itertools import pairwise

PAGE = re.compile(r"docs/(?P<path>(?:[\w-]+/)*(?P<name>[\w-]+)\.md(?:#(?P<part>[\w-]+))?)")
"""A page that a docstring names."""


def attribute_docs(owner: type) -> dict[str, str]:
    """Return the docstring of each field of a class that has one, with links to the pages that it names."""
    (definition,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: link_pages(inspect.cleandoc(below.value.value))
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def link_pages(text: str) -> str:
    """Make links of the pages that a text names, for a page that lies in docs/ itself."""
    return PAGE.sub(link, text)


def link(page: re.Match[str]) -> str:
    """Return a link whose text is the name of the page, and of a part of it."""
    part = page["part"]
    label = page["name"] + (f" ({part.replace('-', ' ')})" if part else "")
    return f"[{label}]({page['path']})"
