"""What people make happen in the catalogue: the first provider, new prices, releasing services."""

import logging
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from catalog import history
from catalog.bulk import update_rows
from catalog.compare import repriced
from catalog.history import Cause
from catalog.models import HeldChange, Provider, Service
from catalog.stored import read_stored, terms_of

logger = logging.getLogger(__name__)

NOBODY = Cause()


def ensure_first_provider() -> Provider | None:
    """The provider of UPSTREAM_API_URL, made when there is none at all yet.

    None without the variable, and when providers exist but none has this address: after the
    first start providers are the admin's. Calling it again, or twice at once, makes no second one.
    """
    if not settings.UPSTREAM_API_URL:
        return None
    known = Provider.objects.filter(url=settings.UPSTREAM_API_URL).first()
    if known or Provider.objects.exists():
        return known
    name = (urlsplit(settings.UPSTREAM_API_URL).hostname or "upstream")[:100]
    provider, _ = Provider.objects.get_or_create(
        name=name,
        defaults={
            "url": settings.UPSTREAM_API_URL,
            "api_key": settings.UPSTREAM_API_KEY,
            "currency": settings.CURRENCY,
        },
    )
    return provider


def reprice(services: QuerySet[Service] | None = None, cause: Cause = NOBODY) -> int:
    """Make prices follow from cost and rules again; returns how many services changed.

    Call it after a rule, a pinned price, an exchange rate or MARKUP_PERCENT has changed, with
    the services it concerns (all by default). Waits for a sync of the same provider to finish.
    """
    chosen = Service.objects.all() if services is None else services
    providers = set(chosen.order_by().values_list("provider_id", flat=True).distinct())
    return sum(_reprice(provider_id, chosen, cause) for provider_id in sorted(providers))


@transaction.atomic
def _reprice(provider_id: int, chosen: QuerySet[Service], cause: Cause) -> int:
    provider = Provider.objects.locked(provider_id)
    now = timezone.now()
    found = list(repriced(read_stored(provider_id, chosen), terms_of(provider)))
    rows = [
        (change.known.pk, change.price_rate, change.facts.refusal, now)
        for change in found
        if change.known is not None
    ]
    update_rows(Service, ["price_rate", "refusal", "changed_at"], rows)
    history.write(
        [(change.known.pk, history.fields_of(change)) for change in found if change.known],
        cause,
        at=now,
    )
    return len(rows)


@transaction.atomic
def release(services: QuerySet[Service], actor: User | None) -> int:
    """Put held services on sale; returns how many.

    One that is not listed upstream stays held, so that its return still waits for someone, and so
    does one with a change that nobody has decided on.
    """
    waiting = HeldChange.objects.filter(state=HeldChange.State.OPEN).values("service")
    held = services.filter(is_held=True, is_present=True).exclude(pk__in=waiting)
    chosen = list(held.order_by().values_list("pk", flat=True))
    now = timezone.now()
    released = Service.objects.filter(pk__in=chosen, is_held=True).update(
        is_held=False, changed_at=now
    )
    history.write([(pk, {"is_held": [True, False]}) for pk in chosen], Cause(actor=actor), at=now)
    logger.info("%s services released by user %s", released, actor.pk if actor else None)
    return released
