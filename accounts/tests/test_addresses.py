"""The address of a visitor, behind none, one or two proxies of our own."""

import pytest
from allauth.account.adapter import get_adapter
from django.conf import LazySettings
from django.test import RequestFactory

from accounts.addresses import client_address

PEER, FORGED, VISITOR, OUTER = "192.0.2.1", "203.0.113.6", "198.51.100.1", "2001:db8::2"


@pytest.mark.parametrize(
    ("proxies", "passed", "found"),
    [
        (0, VISITOR, PEER),
        (1, VISITOR, VISITOR),
        (1, f"{FORGED}, {VISITOR}", VISITOR),
        (2, f"{FORGED}, {VISITOR}, {OUTER}", VISITOR),
        (2, f"{VISITOR},{OUTER}", VISITOR),
        # Past the proxies: what they would have written is not there.
        (2, FORGED, PEER),
        (1, "", PEER),
        (1, "unknown", PEER),
        (1, f"{FORGED}, nonsense; x", PEER),
    ],
)
def test_an_address_is_believed_from_our_own_proxies_alone(
    settings: LazySettings, proxies: int, passed: str, found: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=PEER, HTTP_X_FORWARDED_FOR=passed)

    assert client_address(request) == found
    # Sign-in counts by the very same.
    assert get_adapter().get_client_ip(request) == found
