"""API keys: made, shown once, looked up by their hash, rotated and revoked."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from accounts import throttle
from accounts.addresses import one_visitor
from accounts.models import ApiKey, User

_BYTES = 32
_PREFIX_LENGTH = 8
_MOST_NETWORKS = 50
# A key's last use is written this often at most.
_USE_NOTED_EVERY = timedelta(minutes=1)
# An address that tries keys is stopped, but not the key that works there.
_GOOD_FOR_SECONDS = 600


class KeyRefused(Exception):
    """The request may not go on; the text is what API v2 clients know."""


class TooManyRequests(Exception):
    """Too many requests of a key, or too many wrong keys of an address."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"wait {seconds} seconds")
        self.seconds = seconds


class InvalidNetwork(ValueError):
    """A line is no IP address and no network in CIDR notation; the message names it."""


@dataclass(frozen=True)
class NewKey:
    """A key and, this once, the secret that a client sends."""

    key: ApiKey
    secret: str = field(repr=False)


@sensitive_variables("secret")
def create_key(*, user: User, name: str, allowed_from: str = "") -> NewKey:
    """Make a key of 32 random bytes. Raises InvalidNetwork."""
    networks = clean_networks(allowed_from)
    secret = _secret()
    key = ApiKey.objects.create(
        user=user,
        name=name.strip()[:60] or _("API key"),
        prefix=secret[:_PREFIX_LENGTH],
        digest=_digest(secret),
        allowed_from=networks,
    )
    return NewKey(key, secret)


@sensitive_variables("secret")
def rotate_key(key: ApiKey) -> NewKey:
    """Give a key a new secret; the old one stops working at once. A revoked key stays revoked."""
    secret = _secret()
    key.prefix, key.digest = secret[:_PREFIX_LENGTH], _digest(secret)
    key.save(update_fields=["prefix", "digest"])
    return NewKey(key, secret)


def revoke_key(key: ApiKey) -> None:
    """End a key for good."""
    _revoke(ApiKey.objects.filter(pk=key.pk))


def revoke_keys(user: User) -> int:
    """End all keys of this customer for good; returns how many still worked."""
    return _revoke(ApiKey.objects.filter(user=user))


def _revoke(keys: QuerySet[ApiKey]) -> int:
    return keys.filter(revoked_at=None).update(revoked_at=timezone.now())


def clean_networks(text: str) -> str:
    """One network per line, from a list by lines, commas or blanks. Raises InvalidNetwork."""
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    if len(parts) > _MOST_NETWORKS:
        raise InvalidNetwork(_("At most %(number)s addresses.") % {"number": _MOST_NETWORKS})
    return "\n".join(dict.fromkeys(_network(part) for part in parts))


def _network(part: str) -> str:
    try:
        network = ipaddress.ip_network(part, strict=False)
    except ValueError:
        raise InvalidNetwork(_("%(text)s is not an IP address.") % {"text": part[:60]}) from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


@sensitive_variables("secret")
def authenticate(secret: str, address: str) -> ApiKey:
    """The key that this secret belongs to, with its user.

    Raises KeyRefused, or TooManyRequests for an address that has sent too many wrong keys and for
    a key that is used too often.
    """
    digest = _digest(secret)
    place = f"wrong-key {one_visitor(address)}"
    pause = throttle.wait(place, limit=settings.API_WRONG_KEYS_PER_MINUTE)
    if pause and not throttle.is_remembered(f"good-key {digest}"):
        raise TooManyRequests(pause)
    key = ApiKey.objects.select_related("user").filter(digest=digest, revoked_at=None).first()
    if key is None or not hmac.compare_digest(key.digest, digest):
        throttle.hit(place, limit=settings.API_WRONG_KEYS_PER_MINUTE)
        raise KeyRefused("Invalid API key")
    _check_use(key, address)
    _note_use(key)
    return key


def _check_use(key: ApiKey, address: str) -> None:
    if not key.user.is_active:
        raise KeyRefused("Your account is not active")
    if not is_allowed_from(key.allowed_from, address):
        raise KeyRefused("IP address not allowed")
    limit = settings.API_REQUESTS_PER_MINUTE
    pause = throttle.hit(f"key {key.pk}", limit=limit) if limit else 0
    if pause:
        raise TooManyRequests(pause)


def is_allowed_from(networks: str, address: str) -> bool:
    """Whether an address is in one of the networks; in an empty list every address is."""
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(line) for line in networks.split("\n"))


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    if key.last_used_at and now - key.last_used_at < _USE_NOTED_EVERY:
        return
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    throttle.remember(f"good-key {key.digest}", seconds=_GOOD_FOR_SECONDS)


def _secret() -> str:
    return secrets.token_hex(_BYTES)


@sensitive_variables("secret")
def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
