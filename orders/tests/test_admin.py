"""Orders in the admin: what staff see, what they can do, and what nobody can do there."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import ErrorRule, Provider, Service
from orders.fulfilment import run_due
from orders.models import Attempt, Gate, Order, Request
from orders.services import place_order
from orders.states import Dispatch, Outcome, RequestState, Status
from tests.crowds import multiply, new_uuid
from upstream.simulator import Simulator
from wallet.models import Account, Entry

pytestmark = pytest.mark.django_db(transaction=True)

ORDERS = "/admin/orders/order/"
ROW = {
    "service": 1, "name": "Followers, fast", "type": "Default", "category": "Followers",
    "rate": "1.00", "min": "10", "max": "10000", "refill": True, "cancel": True,
}  # fmt: skip


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def simulator(provider: Provider, settings: Settings) -> Iterator[Simulator]:
    """What the provider's address leads to."""
    settings.ALLOW_PRIVATE_UPSTREAM = True
    with Simulator([ROW], key="key-of-the-fixture", pace=100) as simulator:
        Provider.objects.update(url=simulator.url)
        yield simulator


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    """Paid with 2 of the customer's 10, not sent."""
    return place_order(
        customer=customer, service=service, client_token=uuid.uuid4(),
        values={"link": "https://example.com/a", "quantity": "1000"},
    )  # fmt: skip


@pytest.fixture
def accepted(order: Order, simulator: Simulator) -> Order:
    run_due()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    return order


@pytest.fixture
def unknown(order: Order, simulator: Simulator) -> Order:
    """Placed at the provider, and the answer was lost an hour ago."""
    simulator.world.break_with("add", "lost_after")
    run_due()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN
    past = timezone.now() - timedelta(hours=1)
    Attempt.objects.update(claimed_at=past, sending_at=past)
    return order


def page(row: Any, name: str = "change") -> str:
    return reverse(f"admin:orders_{row._meta.model_name}_{name}", args=[row.pk])


def act(client: Client, row: Any, name: str, **fields: Any) -> Any:
    """Open the dialog, send it, and read the order again."""
    given = {"token": uuid.uuid4(), "code": "too slow", **fields}
    answer = client.post(page(row, name), given, follow=True)
    row.refresh_from_db()
    return answer


def text(answer: Any) -> str:
    return str(answer.content.decode())


def balance() -> Decimal:
    return Decimal(Account.objects.get().balance)


def buttons(client: Client, order: Order) -> set[str]:
    """The actions offered on the order's page."""
    shown = text(client.get(page(order)))
    names = ("check_now", "refund", "refill", "cancel", "bind_unknown", "refund_unknown",
             "resend_unknown", "explain", "acknowledge")  # fmt: skip
    return {name for name in names if f'hx-get="{page(order, name)}"' in shown}


def test_a_refund_gives_back_all_that_is_left(owner: Client, staff: User, accepted: Order) -> None:
    act(owner, accepted, "refund", amount="0.5", reason="half was late")
    answer = act(owner, accepted, "refund", reason="the rest too")

    assert "1.50 refunded" in text(answer)
    assert accepted.refunded == accepted.charge == 2
    assert balance() == 10
    refunds = Entry.objects.filter(kind="staff_refund").order_by("pk")
    assert [(each.note, each.actor) for each in refunds] == [
        ("too slow: half was late", staff), ("too slow: the rest too", staff),
    ]  # fmt: skip


def test_a_refund_form_sent_twice_refunds_once(owner: Client, accepted: Order) -> None:
    form = {"amount": "0.5", "reason": "late", "token": uuid.uuid4()}
    for _ in range(2):
        act(owner, accepted, "refund", **form)

    assert accepted.refunded == Decimal("0.5")
    assert balance() == Decimal("8.5")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount": "2.00001", "reason": "x"}, "amount"),
        ({"amount": "-1", "reason": "x"}, "amount"),
        ({"amount": "0", "reason": "x"}, "amount"),
        ({"amount": "1", "reason": "  "}, "reason"),
    ],
)
def test_a_refund_without_sense_or_reason_is_refused_beside_its_field(
    owner: Client, accepted: Order, fields: dict[str, str], field: str
) -> None:
    answer = act(owner, accepted, "refund", **fields)

    assert field in answer.context["form"].errors
    assert balance() == 8


def test_what_the_desk_refuses_is_said_in_the_dialog(owner: Client, order: Order) -> None:
    answer = act(owner, order, "refund", reason="x")

    assert "Cancel or decide an order that may yet be sent" in text(answer)
    assert balance() == 8


def test_checking_now_applies_the_providers_answer(
    owner: Client, accepted: Order, simulator: Simulator
) -> None:
    simulator.world.force(accepted.upstream_id, status="Canceled")

    answer = act(owner, accepted, "check_now")

    assert "The order is: Canceled." in text(answer)
    assert accepted.status == Status.CANCELED
    assert balance() == 10


def test_checking_an_order_out_of_reach_says_so(
    owner: Client, accepted: Order, simulator: Simulator
) -> None:
    simulator.stop()

    assert "did not answer" in text(act(owner, accepted, "check_now"))
    assert accepted.status == Status.PENDING


def test_cancelling_an_unsent_order_withdraws_and_refunds_it(owner: Client, order: Order) -> None:
    assert "withdrawn" in text(act(owner, order, "cancel"))
    assert order.dispatch == Dispatch.WITHDRAWN
    assert balance() == 10


def test_cancelling_a_sent_order_asks_the_provider(owner: Client, accepted: Order) -> None:
    assert "Cancel requested" in text(act(owner, accepted, "cancel"))

    asked = Request.objects.get()
    assert (asked.kind, asked.state) == ("cancel", RequestState.QUEUED)
    assert balance() == 8


def test_a_refill_is_requested_once(owner: Client, accepted: Order, staff: User) -> None:
    Order.objects.update(status=Status.COMPLETED, finished_at=timezone.now())

    act(owner, accepted, "refill")
    again = act(owner, accepted, "refill")

    assert Request.objects.get().requested_by == staff
    assert "under way" in text(again)


def test_an_unconfirmed_order_is_bound_to_the_id_found_there(
    owner: Client, unknown: Order, simulator: Simulator
) -> None:
    there = simulator.world.orders[0].id

    act(owner, unknown, "bind_unknown", upstream_id=there, reason="seen in the list")
    act(owner, unknown, "check_now")

    assert (unknown.dispatch, unknown.upstream_id) == (Dispatch.ACCEPTED, there)
    assert balance() == 8


def test_an_unconfirmed_order_is_refunded_with_a_reason(owner: Client, unknown: Order) -> None:
    act(owner, unknown, "refund_unknown")
    assert unknown.dispatch == Dispatch.UNKNOWN
    act(owner, unknown, "refund_unknown", reason="customer asked")

    assert unknown.dispatch == Dispatch.REJECTED
    assert balance() == 10


def test_an_unconfirmed_order_is_sent_again_only_when_late_answers_are_over(
    owner: Client, unknown: Order
) -> None:
    Attempt.objects.update(claimed_at=timezone.now(), sending_at=timezone.now())
    early = act(owner, unknown, "resend_unknown", reason="not in the list")
    assert "10 minutes after" in text(early)
    Attempt.objects.update(sending_at=timezone.now() - timedelta(hours=1))
    act(owner, unknown, "resend_unknown", reason="not in the list")

    assert unknown.dispatch == Dispatch.QUEUED
    assert unknown.attempts.get().outcome == Outcome.ABSENT


def test_an_unrecognised_error_is_explained_once_and_is_then_a_rule(
    owner: Client, order: Order, simulator: Simulator
) -> None:
    simulator.world.break_with("add", "error", text="Glorp 17 not frobnicated")
    run_due()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN
    assert "Glorp 17 not frobnicated" in text(owner.get(page(order, "explain")))

    act(owner, order, "explain", kind="link")

    rule = ErrorRule.objects.get()
    assert (rule.text, rule.kind) == ("glorp 0 not frobnicated", "link")
    assert order.dispatch == Dispatch.UNKNOWN
    assert balance() == 8


def test_the_page_offers_only_what_can_be_done(
    owner: Client, order: Order, simulator: Simulator
) -> None:
    assert buttons(owner, order) == {"cancel"}
    run_due()
    assert buttons(owner, order) == {"check_now", "refund", "cancel"}
    Order.objects.update(status=Status.COMPLETED, finished_at=timezone.now(), attention="stuck")
    assert buttons(owner, order) == {"check_now", "refund", "refill", "acknowledge"}


def test_an_unconfirmed_orders_page_offers_the_three_ways_out(
    owner: Client, unknown: Order
) -> None:
    assert buttons(owner, unknown) == {"bind_unknown", "refund_unknown", "resend_unknown"}


def test_attention_is_taken_away_with_a_reason(owner: Client, accepted: Order) -> None:
    Order.objects.update(attention="stuck")
    assert "no longer checked" in text(owner.get(page(accepted)))

    act(owner, accepted, "acknowledge", reason="asked them")

    assert accepted.attention == ""


def test_a_lost_request_is_settled_with_a_reason(owner: Client, accepted: Order) -> None:
    asked = Request.objects.create(
        order=accepted, provider=accepted.provider, kind="cancel", state=RequestState.UNKNOWN
    )

    act(owner, asked, "close", is_done="no", reason="they said no")

    assert asked.state == RequestState.REJECTED


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("refund_order", {"refund"}),
        ("ask_provider", {"check_now", "refill", "cancel"}),
        ("resolve_order", {"bind_unknown", "refund_unknown", "resend_unknown", "acknowledge"}),
        ("add_errorrule", {"explain"}),
    ],
)
def test_each_verb_needs_its_own_permission(
    client: Client, order: Order, permission: str, allowed: set[str]
) -> None:
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.set(
        Permission.objects.filter(codename__in=["view_order", "change_order", permission])
    )
    client.force_login(clerk)
    names = ("check_now", "refund", "refill", "cancel", "bind_unknown", "refund_unknown",
             "resend_unknown", "explain", "acknowledge")  # fmt: skip

    reached = {name for name in names if client.post(page(order, name), {}).status_code != 403}

    assert reached == allowed


def test_a_verb_alone_does_not_open_what_one_may_not_see(client: Client, order: Order) -> None:
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="refund_order"))
    client.force_login(clerk)

    assert client.get(page(order, "refund")).status_code == 403


def test_what_staff_did_is_in_the_orders_history(
    owner: Client, staff: User, accepted: Order
) -> None:
    act(owner, accepted, "refund", amount="0.5", reason="late")

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(accepted.pk))
    assert "0.50 refunded" in entry.change_message


def test_an_order_is_neither_added_edited_nor_deleted(owner: Client, order: Order) -> None:
    fields = {"charge": "0", "refunded": "2", "status": "canceled", "dispatch": "accepted"}

    assert owner.post(page(order), fields).status_code == 403
    assert owner.post(page(order, "delete"), {"post": "yes"}).status_code == 403
    assert owner.get(f"{ORDERS}add/").status_code == 403
    order.refresh_from_db()
    assert (order.charge, order.status) == (2, Status.PENDING)


def test_the_page_tells_the_whole_story_and_not_the_key(
    owner: Client, accepted: Order, staff: User
) -> None:
    act(owner, accepted, "refund", amount="0.5", reason="half was late")
    shown = text(owner.get(page(accepted)))

    for expected in ("Timeline", "Attempts", "Order placed and paid", "half was late",
                     str(staff), accepted.upstream_id, "-2.00", "0.50"):  # fmt: skip
        assert expected in shown, expected
    assert "key-of-the-fixture" not in shown


def test_a_hostile_answer_is_shown_as_text(owner: Client, order: Order) -> None:
    Attempt.objects.create(
        order=order, number=1, outcome=Outcome.NOT_SENT, answer="<script>alert(1)</script>"
    )

    shown = text(owner.get(page(order)))

    assert "<script>alert(1)" not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_sending_is_paused_and_resumed_with_a_note(owner: Client, provider: Provider) -> None:
    def do(name: str, **fields: str) -> Gate:
        url = reverse(f"admin:catalog_provider_{name}", args=[provider.pk])
        owner.post(url, {"token": uuid.uuid4(), **fields})
        return Gate.objects.get()

    def offered() -> set[str]:
        shown = text(owner.get(reverse("admin:catalog_provider_change", args=[provider.pk])))
        return {name for name in ("pause", "resume") if f"/{provider.pk}/{name}/" in shown}

    assert offered() == {"pause"}
    paused = do("pause", reason="prices look odd")
    assert offered() == {"resume"}
    assert (paused.pause, paused.pause_note) == ("manual", "prices look odd")
    assert paused.paused_at
    shown = text(owner.get(reverse("admin:catalog_provider_changelist")))
    assert "paused by staff" in shown
    assert do("resume").pause == ""


def test_how_many_are_in_flight_is_edited_on_the_providers_page(
    owner: Client, provider: Provider
) -> None:
    gate = Gate.objects.create(provider=provider, pause="funds")
    owner.post(
        reverse("admin:catalog_provider_change", args=[provider.pk]),
        {"name": "Upstream", "is_enabled": "on", "currency": "USD", "exchange_rate": "1",
         "url": "https://a.example.com", "scan-TOTAL_FORMS": "0", "scan-INITIAL_FORMS": "0",
             "gate-TOTAL_FORMS": "1", "gate-INITIAL_FORMS": "1",
         "gate-0-id": gate.pk, "gate-0-provider": provider.pk, "gate-0-max_in_flight": "3",
         "gate-0-pause": "", "loss_tolerance": "0", "hold_vanishing": "30"},
    )  # fmt: skip

    gate.refresh_from_db()
    assert (gate.max_in_flight, gate.pause) == (3, "funds")


@pytest.mark.parametrize(
    "term", ["{id}", "#{id}", "up-17", "customer@example.com", "CUSTOMER@", "example.com/a"]
)
def test_an_order_is_found_by_either_id_by_mail_and_by_link(
    owner: Client, order: Order, term: str
) -> None:
    Order.objects.update(upstream_id="up-17")
    other = Order.objects.get()
    other.pk, other.upstream_id, other.client_token = None, "up-18", uuid.uuid4()
    other.link = "https://example.org/b"
    other.customer = User.objects.create_user("somebody@example.com")
    other.save()

    found = owner.get(ORDERS, {"q": term.format(id=order.pk)}).context["cl"].result_list

    assert [each.pk for each in found] == [order.pk]


@pytest.mark.parametrize("term", ["%", "'; DROP TABLE", "9" * 40, "²", "\x00", " "])
def test_an_odd_search_term_finds_what_it_finds_and_breaks_nothing(
    owner: Client, order: Order, term: str
) -> None:
    assert owner.get(ORDERS, {"q": term}).status_code == 200


def test_the_filters_narrow_the_list(owner: Client, unknown: Order) -> None:
    for query in ("attention=unknown", "attention=any", "dispatch__exact=unknown",
                  "status__exact=pending", f"customer__id__exact={unknown.customer_id}",
                  f"service__id__exact={unknown.service_id}"):  # fmt: skip
        assert len(owner.get(f"{ORDERS}?{query}").context["cl"].result_list) == 1, query
    assert not owner.get(f"{ORDERS}?dispatch__exact=queued").context["cl"].result_list


@pytest.mark.django_db
def test_the_order_list_stays_light_with_twenty_thousand_orders(
    owner: Client, order: Order, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    changes = {"client_token": new_uuid(), "link": "'https://example.com/' || n"}
    multiply(order, 20_000, changes)
    owner.get("/healthz")  # notes in the session that staff were here, once a minute
    for query in ("", "?status__exact=pending", "?q=example.com/19999", "?p=100"):
        with django_assert_max_num_queries(20) as captured:
            answer = owner.get(f"{ORDERS}{query}")
        assert answer.context["cl"].result_list
        assert len(answer.content) <= 300_000
        counts = [each["sql"] for each in captured.captured_queries if "COUNT(" in each["sql"]]
        # The menu counts what waits, and stops at a limit.
        assert [sql for sql in counts if sql.count("LIMIT") < sql.count("COUNT(")] == []
