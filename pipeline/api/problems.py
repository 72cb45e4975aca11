"""Error answers: each has the envelope `{"status", "code", "message", "detail"}`."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

REASONS = {
    400: "Bad request",
    401: "Authentication required",
    403: "Permission denied",
    404: "Resource not found",
    405: "Request method not available",
    408: "Request timeout",
    412: "Precondition failed",
    413: "Request too large",
    414: "URL too long",
    415: "Unsupported media type",
    429: "Too many requests",
    431: "Headers too long",
    500: "Internal error",
    503: "Service unavailable",
    507: "Insufficient storage",
}
GENERAL = 10
"""The code of every problem except a validation error."""
VALIDATION = 20
"""The code of a validation error: a 400 with the detail {field: [sentences]}."""


class Problem(Exception):
    """An error answer, raised anywhere below an endpoint."""

    def __init__(
        self,
        status: int,
        detail: Any,
        *,
        code: int = GENERAL,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer."""
        reason = "Validation error" if self.code == VALIDATION else REASONS[self.status]
        return {
            "status": self.status,
            "code": self.code,
            "message": f"{reason}. #{self.status}.{self.code}",
            "detail": self.detail,
        }


def invalid(errors: Mapping[str, list[str]]) -> Problem:
    """Return Problem 400 for fields or parameters; `errors` maps each name to its sentences."""
    return Problem(400, dict(errors), code=VALIDATION)


def not_found(model: str) -> Problem:
    """Return Problem 404 for an object that does not exist or that the caller may not see."""
    return Problem(404, f"No {model} matches the given query.")


def method_not_allowed(method: str, allowed: str) -> Problem:
    """Return Problem 405 with the header Allow."""
    return Problem(405, f'Method "{method}" not allowed.', headers={"Allow": allowed})


def check_method(method: str, allowed: Sequence[str]) -> None:
    """Raise Problem 405 unless the method is allowed."""
    if method not in allowed:
        raise method_not_allowed(method, ", ".join(allowed))


def login_required(detail: str = "Authentication credentials were not provided.") -> Problem:
    """Return Problem 401 with the challenge that makes clients send credentials."""
    return Problem(401, detail, headers={"WWW-Authenticate": 'Basic realm="api"'})


def forbidden(detail: str = "You do not have permission to perform this action.") -> Problem:
    """Return Problem 403."""
    return Problem(403, detail)


def too_many_sign_ins(seconds: int) -> Problem:
    """Return Problem 429 with the time until the next attempt is accepted."""
    wait = f"{seconds} seconds" if seconds < 120 else f"{ceil(seconds / 60)} minutes"
    return Problem(
        429,
        f"Too many failed sign-ins from here; wait {wait} and try again.",
        headers={"Retry-After": str(seconds)},
    )


def unavailable(detail: str = "The database does not answer; try again later.") -> Problem:
    """Return Problem 503, which asks the client to try again in 5 seconds."""
    return Problem(503, detail, headers={"Retry-After": "5"})
