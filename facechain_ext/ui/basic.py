"""Names and passwords as a client sends them (HTTP Basic, RFC 7617), in any script: FastAPI's own reading takes ASCII alone.

Annotations are evaluated here: older FastAPI cannot find the names in an object's that is called as a dependency.
"""

import base64

from fastapi.requests import HTTPConnection
from fastapi.security import HTTPBasic, HTTPBasicCredentials


class AnyBasic(HTTPBasic):
    """A FastAPI dependency: what was sent, or None where it is no such header; nobody is refused here."""

    def __init__(self) -> None:
        super().__init__(scheme_name="HTTPBasic", auto_error=False)

    async def __call__(self, request: HTTPConnection) -> HTTPBasicCredentials | None:
        """The name and password of a request."""
        found = credentials(request.headers.get("authorization", ""))
        return None if found is None else HTTPBasicCredentials(username=found[0], password=found[1])


def credentials(header: str) -> tuple[str, str] | None:
    """Name and password of a header, None where it is none of HTTP Basic in UTF-8."""
    kind, _, code = header.partition(" ")
    try:
        name, colon, password = base64.b64decode(code.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, or no UTF-8
        return None
    return (name, password) if colon and kind.lower() == "basic" else None
