"""Refills: their window and pause per service, and those that wait for staff."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders import refills
from orders.errors import NotPossible
from orders.following import check_now
from orders.models import Order, Request
from orders.refills import Window, refill_refusal
from orders.requests import request_refill, send_due
from orders.states import RequestState
from orders.tests.races import at_once
from orders.tests.upstream_world import Upstream, running_upstream

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ENDED = datetime(2026, 11, 4, 12, tzinfo=UTC)


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def done(upstream: Upstream, customer: User) -> Order:
    """A completed order, here and there."""
    order = upstream.accept(customer)
    upstream.world.advance(11)
    return check_now(order.pk)


@pytest.fixture
def agent(client: Client, db: None) -> Client:
    """Support, as far as refills go."""
    user = User.objects.create_user("agent@example.com", "a-Long-passw0rd", is_staff=True)
    names = ["view_request", "decide_refill", "view_order"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def by_staff(order: Order, **fields: Any) -> None:
    Service.objects.filter(pk=order.service_id).update(refill_by="staff", **fields)
    order.refresh_from_db()


def decide(client: Client, request: Request, name: str, **fields: Any) -> Any:
    url = reverse(f"admin:orders_request_{name}", args=[request.pk])
    answer = client.post(url, {"token": uuid.uuid4(), **fields}, follow=True)
    request.refresh_from_db()
    return answer


@pytest.mark.parametrize(
    ("window", "asked", "now", "says"),
    [
        (Window(30, 0 * HOUR, 24 * HOUR), None, ENDED, ""),
        (Window(30, 18 * HOUR, 24 * HOUR), None, ENDED, "A refill opens in 18 h."),
        (Window(30, 18 * HOUR, 24 * HOUR), None, ENDED + 17.5 * HOUR, "A refill opens in 30 min."),
        (Window(30, 0 * HOUR, 24 * HOUR), ENDED, ENDED + 6.2 * HOUR, "A refill opens in 18 h."),
        (Window(30, 0 * HOUR, 24 * HOUR), ENDED, ENDED + 24 * HOUR, ""),
        (Window(30, 0 * HOUR, 0 * HOUR), ENDED, ENDED + 1 * HOUR, ""),
        (Window(30, 0 * HOUR, 24 * HOUR), None, ENDED + 30 * DAY, ""),
        (Window(30, 0 * HOUR, 24 * HOUR), None, ENDED + 31 * DAY,
         "The time for a refill ended on 4 Dec 2026."),
        # It would open only after its end.
        (Window(1, 0 * HOUR, 48 * HOUR), ENDED, ENDED + 2 * HOUR,
         "The time for a refill ended on 5 Nov 2026."),
        (Window(0, 0 * HOUR, 24 * HOUR), None, ENDED + 4000 * DAY, ""),
    ],
)  # fmt: skip
def test_when_a_refill_opens_and_when_its_time_is_over(
    window: Window, asked: datetime | None, now: datetime, says: str
) -> None:
    assert refills._outside(window, ENDED, asked, now) == says


def test_a_service_has_rules_of_its_own_and_its_customer_reads_them(
    client: Client, done: Order, customer: User
) -> None:
    client.force_login(customer)
    page = f"/orders/{done.pk}/"
    Order.objects.filter(pk=done.pk).update(finished_at=timezone.now() - 10 * DAY)
    assert "Request a refill" in client.get(page).content.decode()

    Service.objects.update(refill_days=7)
    assert "The time for a refill ended on" in client.get(page).content.decode()

    Service.objects.update(refill_days=None, refill_every_hours=72)
    first = request_refill(order_id=done.pk, actor=customer)
    Request.objects.filter(pk=first.pk).update(
        state=RequestState.COMPLETED,
        created_at=timezone.now() - 54 * HOUR,
        finished_at=timezone.now(),
    )
    assert "A refill opens in 18 h." in client.get(page).content.decode()
    with pytest.raises(NotPossible, match="opens in 18 h"):
        request_refill(order_id=done.pk, actor=customer)


def test_one_open_refill_per_order_whatever_it_waits_for(done: Order, customer: User) -> None:
    by_staff(done)
    asked = request_refill(order_id=done.pk, actor=customer)
    assert asked.state == RequestState.ASKED
    with pytest.raises(NotPossible, match="under way"):
        request_refill(order_id=done.pk, actor=customer)
    with pytest.raises(IntegrityError, match=r"(?i)unique"), transaction.atomic():
        Request.objects.create(order=done, provider_id=done.provider_id, kind="refill")


def test_a_refill_that_waits_is_sent_when_it_is_approved_and_only_then(
    agent: Client, upstream: Upstream, done: Order, customer: User
) -> None:
    by_staff(done)
    asked = request_refill(order_id=done.pk, actor=customer)
    assert send_due() == 0
    queue = agent.get("/admin/orders/request/?refills=asked")
    assert [each.pk for each in queue.context["cl"].result_list] == [asked.pk]
    # The number that clients of the API know it by finds it.
    number = str(asked.pk + 1000)
    assert f">{number}<" in queue.content.decode().replace("\n", "").replace(" ", "")
    found = agent.get(f"/admin/orders/request/?q={number}")
    assert [each.pk for each in found.context["cl"].result_list] == [asked.pk]

    assert "Approved" in decide(agent, asked, "approve", way="provider").content.decode()
    assert asked.state == RequestState.QUEUED
    assert [send_due(), send_due()] == [1, 0]
    assert len(upstream.world.book.refills) == 1
    assert (
        "does not wait for staff"
        in decide(agent, asked, "refuse", reason="too late").content.decode()
    )
    for tab in ("", "requested", "there", "completed", "refused"):
        shown = agent.get(f"/admin/orders/request/?refills={tab}")
        assert len(shown.context["cl"].result_list) == (tab in ("", "there")), tab


def test_a_provider_without_refill_is_never_asked_and_staff_see_to_it(
    agent: Client, upstream: Upstream, done: Order, customer: User
) -> None:
    by_staff(done, refill=False)
    asked = request_refill(order_id=done.pk, actor=customer)
    refused = decide(agent, asked, "approve", way="provider")
    assert "way" in refused.context["form"].errors

    decide(agent, asked, "approve", way="hand", reason="we see to it today")
    assert (asked.state, asked.reason) == (RequestState.ACCEPTED, "we see to it today")
    assert send_due() == 0
    assert upstream.world.book.refills == {}
    decide(agent, asked, "close", is_done="yes", reason="done by their support")
    assert asked.state == RequestState.COMPLETED


def test_what_staff_refuse_has_a_reason_that_the_customer_reads(
    agent: Client, client: Client, done: Order, customer: User
) -> None:
    type(done.provider).objects.update(refills_by_staff=True)
    asked = request_refill(order_id=done.pk, actor=customer)
    assert asked.state == RequestState.ASKED
    assert "reason" in decide(agent, asked, "refuse", reason=" ").context["form"].errors

    decide(agent, asked, "refuse", reason="the account was private")

    assert asked.state == RequestState.REJECTED
    # Asking again at once would only be work for staff.
    assert refill_refusal(done, timezone.now()) == "A refill opens in 24 h."
    client.force_login(customer)
    assert "the account was private" in client.get(f"/orders/{done.pk}/").content.decode()
    Service.objects.update(refill_by="itself")
    Request.objects.update(created_at=timezone.now() - 25 * HOUR)
    assert request_refill(order_id=done.pk, actor=customer).state == RequestState.QUEUED


def test_without_the_right_nobody_decides(agent: Client, done: Order, customer: User) -> None:
    by_staff(done)
    asked = request_refill(order_id=done.pk, actor=customer)
    User.objects.get(email="agent@example.com").user_permissions.remove(
        Permission.objects.get(codename="decide_refill")
    )
    for name in ("approve", "refuse", "close"):
        url = reverse(f"admin:orders_request_{name}", args=[asked.pk])
        assert agent.post(url, {"token": uuid.uuid4()}).status_code == 403


def test_whoever_decides_about_refills_settles_no_cancel(agent: Client, done: Order) -> None:
    asked = Request.objects.create(
        order=done, provider=done.provider, kind=Request.Kind.CANCEL, state=RequestState.ACCEPTED
    )
    url = reverse("admin:orders_request_close", args=[asked.pk])

    answer = agent.post(url, {"is_done": "yes", "reason": "r", "token": uuid.uuid4()})

    assert answer.status_code == 403
    asked.refresh_from_db()
    assert asked.state == RequestState.ACCEPTED


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_who_decide_at_once_decide_once(
    upstream: Upstream, done: Order, customer: User, staff: User
) -> None:
    by_staff(done)
    asked = request_refill(order_id=done.pk, actor=customer)

    def approve() -> None:
        refills.approve_refill(request_id=asked.pk, is_by_hand=False, reason="", actor=staff)

    def refuse() -> None:
        refills.refuse_refill(request_id=asked.pk, reason="no", actor=staff)

    told = at_once([approve, refuse, approve, refuse])

    assert sum(isinstance(each, NotPossible) for each in told) == 3
    assert asked.order.events.filter(code="refill_state").count() == 1
