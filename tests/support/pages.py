"""What a browser does with our pages, done over HTTP: send its headers, read texts and forms, and sign in."""

import re
from html import unescape

from httpx import Client, Response

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}


def text_of(page: Response) -> str:
    """Return the text of a page without its markup."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page.text)))


def token_of(page: Response) -> str:
    """Return the CSRF token in the forms of a page."""
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert match, page.text
    return match[1]


def post_sign_in(browser: Client, username: str, password: str, following: str = "") -> Response:
    """Send the form of the sign-in page."""
    page = browser.get("/accounts/login/", params={"next": following})
    data = {
        "csrfmiddlewaretoken": token_of(page),
        "username": username,
        "password": password,
        "next": following,
    }
    return browser.post("/accounts/login/", data=data)
