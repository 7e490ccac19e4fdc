"""Tells the owner what needs a person, by e-mail and webhook: each trouble once, until it is over."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from smtplib import SMTPException

import requests
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.models import HeldChange, SyncRun
from orders.models import Gate, Order
from orders.pacing import failures_of
from orders.states import Dispatch
from panel import state
from panel.models import Alert

logger = logging.getLogger(__name__)

# A trouble that comes and goes is one trouble until it stayed away for so long.
OVER_AFTER = timedelta(minutes=5)
UNSENT_AFTER = timedelta(minutes=30)
SPENDING_DAYS = 7
_SYNCS = 3
# With the pauses between them about a quarter of an hour.
_FAILURES = 6
_SECONDS = 10


@dataclass(frozen=True)
class Trouble:
    """What is wrong now: `key` is the same as long as it is the same trouble."""

    key: str
    text: str


@dataclass(frozen=True)
class Report:
    """What one run found, told and saw end."""

    open: int
    told: int
    over: int


def run_alerts(now: datetime) -> Report:
    """Look, note, and tell what was not told yet. The network is used outside of transactions."""
    troubles = find_troubles(now)
    over = note(troubles, now)
    told = deliver(now)
    return Report(open=len(troubles), told=told, over=over)


def find_troubles(now: datetime) -> list[Trouble]:
    """Everything that needs a person at this moment."""
    return [*_jobs(now), *_waiting(now), *_providers(now), *_held()]


def _jobs(now: datetime) -> Iterable[Trouble]:
    for job in state.job_ages(now):
        if job.age is not None and job.is_late:
            minutes = int(job.age.total_seconds() // 60)
            text = _("The job %(job)s last ran %(minutes)s minutes ago.")
            yield Trouble(f"late:{job.name}", text % {"job": job.name, "minutes": minutes})
        if job.succeeded is False:
            text = _("The job %(job)s failed; its page in the admin says why.")
            yield Trouble(f"failed:{job.name}", text % {"job": job.name})


def _waiting(now: datetime) -> Iterable[Trouble]:
    lost, unsent = state.unconfirmed(now), state.unsent(now)
    if lost.count and lost.oldest > timedelta(minutes=settings.ALERT_UNCONFIRMED_MINUTES):
        text = _("%(count)s orders are unconfirmed: their answers were lost.")
        yield Trouble("unconfirmed", text % {"count": lost.count})
    if unsent.count and unsent.oldest > UNSENT_AFTER:
        text = _("%(count)s paid orders are not sent yet, the oldest for %(minutes)s minutes.")
        minutes = int(unsent.oldest.total_seconds() // 60)
        yield Trouble("unsent", text % {"count": unsent.count, "minutes": minutes})
    if still := state.stuck_runs(now).count:
        text = ngettext(
            "%(count)s bulk action stands still: none of its orders had a turn for 15 minutes.",
            "%(count)s bulk actions stand still: none of their orders had a turn for 15 minutes.",
            still,
        )
        yield Trouble("bulk", text % {"count": still})


def _providers(now: datetime) -> Iterable[Trouble]:
    pauses = dict(Gate.Pause.choices)
    for row in state.providers():
        if row.pause:
            reason = pauses.get(row.pause, _("it does not answer"))
            text = _("Nothing is sent to %(provider)s: %(reason)s.")
            yield Trouble(
                f"paused:{row.pk}:{row.pause}", text % {"provider": row.name, "reason": reason}
            )
        if failures_of(row.pk) >= _FAILURES:
            text = _("%(provider)s does not answer when it is asked about its orders.")
            yield Trouble(f"status:{row.pk}", text % {"provider": row.name})
        if _list_fails(row.pk):
            text = _("The service list of %(provider)s can't be read.")
            yield Trouble(f"sync:{row.pk}", text % {"provider": row.name})
        if is_low(row.balance, spent(row.pk, now), settings.ALERT_BALANCE_DAYS):
            text = _(
                "The balance at %(provider)s is %(balance)s %(currency)s, and will be used up soon."
            )
            yield Trouble(
                f"balance:{row.pk}",
                text % {"provider": row.name, "balance": row.balance, "currency": row.currency},
            )


def _held() -> Iterable[Trouble]:
    """Price changes that wait for a decision: until then these services are not sold."""
    open_ = HeldChange.objects.filter(
        state=HeldChange.State.OPEN, service__provider__is_enabled=True
    )
    counted = open_.order_by().values_list("service__provider", "service__provider__name")
    for pk, name, count in counted.annotate(count=Count("pk")):
        text = ngettext(
            "%(count)s change in the list of %(provider)s is held and waits for a decision.",
            "%(count)s changes in the list of %(provider)s are held and wait for a decision.",
            count,
        )
        yield Trouble(f"held:{pk}", text % {"count": count, "provider": name})


def _list_fails(provider_id: int) -> bool:
    """Whether the last three readings of the service list all failed."""
    ended = SyncRun.objects.filter(provider_id=provider_id).exclude(outcome=SyncRun.Outcome.RUNNING)
    latest = list(ended.order_by("-pk").values_list("outcome", flat=True)[:_SYNCS])
    failures = {SyncRun.Outcome.FAILED, SyncRun.Outcome.REFUSED}
    return len(latest) == _SYNCS and set(latest) <= failures


def spent(provider_id: int, now: datetime) -> Decimal:
    """What the orders of the last seven days cost there, in the provider's currency."""
    recent = Order.objects.filter(
        provider_id=provider_id,
        dispatch=Dispatch.ACCEPTED,
        sent_at__gte=now - timedelta(days=SPENDING_DAYS),
    )
    charges = recent.order_by().values_list("expected_charge", flat=True)
    return sum(charges.iterator(), Decimal(0))


def is_low(balance: str, spent_in_a_week: Decimal, days: int) -> bool:
    """Whether the balance lasts for fewer days than that; an unknown balance is not low."""
    if not balance or not spent_in_a_week:
        return False
    return Decimal(balance) < spent_in_a_week * days / SPENDING_DAYS


@transaction.atomic
def note(troubles: Iterable[Trouble], now: datetime) -> int:
    """Keep one open row per trouble; returns how many ended because they stayed away."""
    for trouble in troubles:
        Alert.objects.update_or_create(
            key=trouble.key,
            over_at=None,
            defaults={"text": trouble.text[:300], "seen_at": now},
            create_defaults={"text": trouble.text[:300], "seen_at": now, "began_at": now},
        )
    return Alert.objects.filter(over_at=None, seen_at__lt=now - OVER_AFTER).update(over_at=now)


def deliver(now: datetime) -> int:
    """Tell each open trouble once per channel; what fails is tried again at the next run."""
    told = 0
    for is_used, column, send in _channels():
        new = list(Alert.objects.filter(over_at=None, **{column: None}).order_by("pk"))
        if not new or not is_used:
            continue
        try:
            send(new)
        except (OSError, SMTPException, ValueError) as exc:
            # ValueError is an address that is none; the other channel must tell it all the same.
            # The address of a webhook often holds its secret, so the error's text is not logged.
            logger.warning("alerts can't be sent by %s: %s", column, type(exc).__name__)
            continue
        Alert.objects.filter(pk__in=[alert.pk for alert in new]).update(**{column: now})
        told += len(new)
    return told


def _channels() -> list[tuple[bool, str, Callable[[list[Alert]], None]]]:
    return [
        (bool(settings.ALERT_EMAILS), "mailed_at", _mail),
        (bool(settings.ALERT_WEBHOOK_URL), "posted_at", _post),
    ]


def _mail(alerts: list[Alert]) -> None:
    subject = _("%(site)s needs you: %(text)s") % {
        "site": settings.SITE_NAME,
        # A subject with a line break would not be sent at all.
        "text": " ".join(alerts[0].text.split()),
    }
    lines = [*(alert.text for alert in alerts), "", f"{settings.SITE_URL}/admin/"]
    send_mail(subject[:200], "\n".join(lines), settings.DEFAULT_FROM_EMAIL, settings.ALERT_EMAILS)


def _post(alerts: list[Alert]) -> None:
    """As JSON: `text` is what chat services show, `alerts` is for programs."""
    body = {
        "text": "\n".join([f"{settings.SITE_NAME}:", *(alert.text for alert in alerts)]),
        "alerts": [
            {"key": alert.key, "text": alert.text, "since": alert.began_at.isoformat()}
            for alert in alerts
        ],
    }
    answer = requests.post(
        settings.ALERT_WEBHOOK_URL, json=body, timeout=_SECONDS, allow_redirects=False
    )
    answer.raise_for_status()
