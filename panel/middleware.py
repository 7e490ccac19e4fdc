"""The admin's own content policy."""

from collections.abc import Callable
from typing import Any

from csp.constants import NONCE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

# Unfold's Alpine evaluates attributes and its templates carry style elements and attributes.
_ADMIN = {
    "script-src": [SELF, NONCE, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}


class AdminContentPolicy:
    """Relax scripts and styles for the admin alone; customers' pages keep the strict policy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: Any = self.get_response(request)
        if request.path.startswith(reverse("admin:index")):
            response._csp_replace = _ADMIN
        return response  # type: ignore[no-any-return]
