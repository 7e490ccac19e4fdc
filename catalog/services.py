"""What people make happen in the catalogue: the first provider, new prices, releasing services."""

import logging
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from catalog import history
from catalog.bulk import update_rows
from catalog.compare import Change, repriced
from catalog.history import Cause
from catalog.models import DIGESTS, HeldChange, Provider, Service
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


@transaction.atomic
def reprice(services: QuerySet[Service] | None = None, cause: Cause = NOBODY) -> int:
    """Make prices follow from cost and rules again; returns how many services changed.

    Call it after a rule, a pinned price, an exchange rate or MARKUP_PERCENT has changed, with
    the services it concerns (all by default). Waits for a sync of the same provider to finish.
    """
    chosen = Service.objects.all() if services is None else services
    providers = set(chosen.order_by().values_list("provider_id", flat=True).distinct())
    now = timezone.now()
    changed: list[tuple[int, history.Fields]] = []
    for provider_id in sorted(providers):
        terms = terms_of(Provider.objects.locked(provider_id))
        changed += write_prices(repriced(read_stored(provider_id, chosen), terms), now)
    history.write(changed, cause, at=now)
    return len(changed)


def write_prices(
    changed: Iterable[Change], now: datetime | None = None
) -> list[tuple[int, history.Fields]]:
    """Write these new prices and nothing else of the services; gives what their history is to say.

    The caller holds their provider's row.
    """
    at = now or timezone.now()
    found = [(change.known.pk, change) for change in changed if change.known is not None]
    rows = [(pk, change.price_rate, change.facts.refusal, at) for pk, change in found]
    update_rows(Service, ["price_rate", "refusal", "changed_at"], rows)
    return [(pk, history.fields_of(change)) for pk, change in found]


def lock_providers(services: QuerySet[Service]) -> None:
    """Keep syncs and others who change prices from these services' providers; in a transaction.

    Everybody takes providers first, in this order, then services, then the audit log's end; whoever
    edits several services in one transaction takes all of them before the first.
    """
    numbers = services.order_by().values_list("provider_id", flat=True).distinct()
    providers = Provider.objects.select_for_update(no_key=True).filter(pk__in=list(numbers))
    list(providers.order_by("pk").values_list("pk", flat=True))


def forget_lists(services: QuerySet[Service]) -> None:
    """Have the lists of these services' providers compared again, though they are no others.

    Call it when a service is to follow its provider again in something it didn't.
    """
    providers = services.order_by().values("provider_id")
    Provider.objects.filter(pk__in=providers).update(**dict.fromkeys(DIGESTS, ""))


@transaction.atomic
def release(services: QuerySet[Service], actor: User | None) -> int:
    """Put held services on sale; returns how many.

    One that is not listed upstream stays held, so that its return still waits for someone, and so
    does one with a change that nobody has decided on.
    """
    lock_providers(services)
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
