"""Reports unexpected errors to Sentry, when its package is installed and SENTRY_DSN is set."""

import importlib
import logging
from typing import Any

logger = logging.getLogger(__name__)


def start_reporting(dsn: str) -> bool:
    """Begin to report; False without address or package, which stops nothing.

    Never with local variables or request bodies: the provider's key is in both for a moment.
    """
    if not dsn:
        return False
    try:
        sentry = importlib.import_module("sentry_sdk")
    except ImportError:
        logger.warning("SENTRY_DSN is set, and the package sentry-sdk is not installed")
        return False
    sentry.init(
        dsn=dsn,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        send_default_pii=False,
        before_send=_without_query,
    )
    return True


def _without_query(event: dict[str, Any], _hint: object) -> dict[str, Any]:
    """The event without what follows the address: API v2 may be called with the key in there."""
    event.get("request", {}).pop("query_string", None)
    return event
