"""The staff's desk: what needs attention, sales that equal the ledger, providers, jobs."""

import csv
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import BalanceSample, Category, HeldChange, Provider, Service
from orders import desk, sales, timing
from orders.models import Attempt, DailySales, Gate, Order, ProviderDay, Request, ServiceTimes
from orders.provider_facts import days_left, facts, low_balances
from orders.run_models import BulkRun
from orders.services import place_order, withdraw
from orders.states import Dispatch, Outcome, Status
from panel.admin import next_run
from panel.attention import KINDS
from panel.models import Job
from panel.periodic import run_periodic_job
from panel.schedule import PeriodicJob
from tests.crowds import multiply
from wallet.models import Account, Approval, Entry, TopUpMethod, TopUpRequest
from wallet.services import top_up

D = Decimal
NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


def text(answer: Any) -> str:
    return str(answer.content.decode())


def bought(customer: User, service: Service, quantity: int = 1000, **fields: Any) -> Order:
    order = place_order(
        customer=customer, service=service, client_token=uuid.uuid4(), allow_duplicate=True,
        values={"link": f"https://example.com/{uuid.uuid4()}", "quantity": str(quantity)},
    )  # fmt: skip
    if fields:
        Order.objects.filter(pk=order.pk).update(**fields)
        order.refresh_from_db()
    return order


def accepted(number: int) -> dict[str, Any]:
    return {"dispatch": Dispatch.ACCEPTED, "upstream_id": str(number), "sent_at": timezone.now()}


def ledger_net() -> Decimal:
    """What all orders brought, as the ledger alone says it."""
    amounts = Entry.objects.filter(order_number__isnull=False).values_list("amount", flat=True)
    return -sum(amounts, D(0))


def site_total() -> sales.Figures:
    return sales.by_day(date(2000, 1, 1), date(2100, 1, 1)).total


@pytest.mark.parametrize(
    ("facts_of", "cost"),
    [
        ({}, "1"),
        ({"dispatch": "child"}, "0"),
        ({"status": Status.CANCELED}, "0"),
        ({"status": Status.COMPLETED}, "1"),
        ({"status": Status.COMPLETED, "upstream_charge": D("0.9")}, "1.35"),
        # A running order's charge may still move.
        ({"status": Status.IN_PROGRESS, "upstream_charge": D("0.9")}, "1"),
        ({"status": Status.PARTIAL, "remains": 25}, "0.75"),
        ({"status": Status.PARTIAL, "remains": 25, "upstream_charge": D("0.5")}, "0.75"),
        ({"status": Status.PARTIAL}, "1"),
    ],
)
def test_what_an_order_really_cost(facts_of: dict[str, Any], cost: str) -> None:
    usual: dict[str, Any] = {
        "dispatch": "accepted", "status": Status.PENDING, "cost": D(1), "exchange_rate": D("1.5"),
        "upstream_charge": None, "quantity": 100, "remains": None,
    }  # fmt: skip
    assert sales.true_cost(**{**usual, **facts_of}) == D(cost)


def test_sales_equal_the_ledger_after_every_kind_of_refund(
    customer: User, staff: User, service: Service
) -> None:
    kept, partly, whole = (bought(customer, service, quantity) for quantity in (1000, 500, 333))
    sales.roll_up()
    assert site_total().net == ledger_net() == D("3.666")
    Order.objects.filter(pk=partly.pk).update(**accepted(7))
    desk.refund(order_id=partly.pk, amount=D("0.123"), reason="r", actor=staff, token=uuid.uuid4())
    withdraw(whole.pk, actor=None)

    assert sales.roll_up() == 1
    total = site_total()
    assert total.net == ledger_net() == D("2.877")
    assert (total.orders, total.refunds, total.cost) == (3, D("0.789"), D("1.5"))
    assert total.profit == D("1.377")
    for part in (DailySales.Part.SERVICE, DailySales.Part.CUSTOMER, DailySales.Part.PROVIDER,
                 DailySales.Part.CATEGORY):  # fmt: skip
        report = sales.by_part(part, date(2000, 1, 1), date(2100, 1, 1))
        assert report.total == total
    assert kept.pk


def test_a_refund_of_an_old_order_changes_its_own_day(
    customer: User, staff: User, service: Service
) -> None:
    old = bought(customer, service, **accepted(1))
    Order.objects.update(created_at=NOW)
    bought(customer, service)
    sales.roll_up()
    desk.refund(order_id=old.pk, amount=D(1), reason="r", actor=staff, token=uuid.uuid4())
    sales.roll_up()

    assert DailySales.objects.get(part="site", day=NOW.date()).refunds == 1
    assert (
        DailySales.objects.get(part="site", day=timezone.now().astimezone(UTC).date()).refunds == 0
    )


def test_rolling_up_twice_changes_nothing(customer: User, service: Service) -> None:
    bought(customer, service)
    sales.roll_up()
    before = list(DailySales.objects.order_by("pk").values())
    sales.roll_up()

    assert list(DailySales.objects.order_by("pk").values()) == before


def test_figures_that_went_wrong_are_healed_to_the_cent(customer: User, service: Service) -> None:
    bought(customer, service)
    sales.roll_up()
    right = list(DailySales.objects.order_by("part").values("part", "key", "revenue", "cost"))
    DailySales.objects.filter(part="site").update(revenue=99)
    DailySales.objects.filter(part="service").delete()
    today = timezone.now().astimezone(UTC).date()
    DailySales.objects.create(
        day=today, part="customer", key=999, orders=1, revenue=1, refunds=0, cost=0
    )

    assert sales.heal(timezone.now()) == 1
    healed = DailySales.objects.order_by("part").values("part", "key", "revenue", "cost")
    assert list(healed) == right
    assert sales.heal(timezone.now()) == 0


def test_a_cost_told_late_is_found_by_healing(customer: User, service: Service) -> None:
    bought(customer, service, **accepted(1))
    sales.roll_up()
    Order.objects.update(
        status=Status.COMPLETED, finished_at=timezone.now(), upstream_charge=D("0.8")
    )
    assert site_total().cost == 1

    sales.heal(timezone.now())
    assert site_total().cost == D("0.8")


def test_the_report_shows_what_the_rows_say_and_so_does_its_file(
    owner: Client, customer: User, service: Service
) -> None:
    Service.objects.update(own_name="=1+1")
    bought(customer, service)
    bought(customer, service, 500)
    sales.roll_up()

    page = owner.get("/admin/sales/?days=7&by=service")
    assert page.context["total"] == ["2", "3.00", "0.00", "1.50", "1.50", "50.0"]
    assert f"service__id__exact={service.pk}" in text(page)
    rows = list(csv.reader(text(owner.get("/admin/sales/?by=service&format=csv")).splitlines()))
    assert [D(cell) for cell in rows[1][2:]] == [2, 3, 0, D("1.5"), D("1.5")]
    assert [D(row[3]) for row in csv.reader(
        text(owner.get("/admin/sales/?format=csv")).splitlines()) if row[0] != "day"] == [3]  # fmt: skip
    for query in ("days=90", "days=abc&by=nonsense", "by=customer", "by=category", "by=provider"):
        assert owner.get(f"/admin/sales/?{query}").status_code == 200


def test_the_link_behind_a_figure_leads_to_exactly_its_orders(
    owner: Client, customer: User, service: Service
) -> None:
    bought(customer, service)
    Order.objects.update(created_at=timezone.now() - timedelta(days=40))
    mine = bought(customer, service)
    sales.heal(timezone.now())

    page = owner.get("/admin/sales/?days=7&by=customer")
    link = page.context["table"]["rows"][0][0].partition('href="')[2].partition('"')[0]
    listed = owner.get(link.replace("&amp;", "&")).context["cl"].result_list

    assert [order.pk for order in listed] == [mine.pk]


def test_the_report_reads_days_and_no_orders(
    owner: Client, customer: User, service: Service
) -> None:
    bought(customer, service)
    sales.roll_up()
    with CaptureQueriesContext(connection) as queries:
        owner.get("/admin/sales/?days=90")

    assert not [one for one in queries if "orders_order" in one["sql"] and "charge" in one["sql"]]


def test_a_services_times_come_from_enough_orders_of_its_own(
    customer: User, service: Service
) -> None:
    now = timezone.now()
    top_up(user=customer, amount=D(1000), reference="more")
    for number in range(20):
        fields = {**accepted(number), "sent_at": now - timedelta(hours=number + 1)}
        bought(customer, service, 10, **fields, status=Status.COMPLETED, finished_at=now)

    assert timing.measure(now) == 1
    assert service.times.delivery_p95 == timedelta(hours=19)
    young = bought(customer, service, 10, **{**accepted(90), "sent_at": now - timedelta(hours=18)})
    old = bought(customer, service, 10, **{**accepted(91), "sent_at": now - timedelta(hours=20)})
    assert list(timing.stuck(now)) == [old]
    assert young.pk

    Order.objects.filter(upstream_id="0").update(status=Status.CANCELED, refunded=D("0.02"))
    assert timing.measure(now) == 1
    assert list(timing.stuck(now)) == []


def waiting(client: Client) -> dict[str, int]:
    kinds = client.get("/admin/attention/").context["kinds"]
    return {str(kind["title"]): kind["count"] for kind in kinds}


def test_everything_that_waits_is_counted_and_its_link_shows_it(
    owner: Client, customer: User, staff: User, service: Service
) -> None:
    assert set(waiting(owner).values()) == {0}
    now = timezone.now()
    order = bought(customer, service, dispatch=Dispatch.UNKNOWN, attention="unknown")
    bought(customer, service, attention="loss", waiting_for="loss")
    bought(customer, service, **accepted(1), attention="contrary")
    stuck = bought(customer, service, **{**accepted(2), "sent_at": now - timedelta(days=2)})
    ServiceTimes.objects.create(service=service, delivery_p95=timedelta(hours=30))
    Request.objects.create(order=order, provider=service.provider, kind="refill")
    Request.objects.create(order=stuck, provider=service.provider, kind="refill", state="asked")
    Approval.objects.create(
        kind="settlement", account=Account.objects.get(), amount=1, requested_by=staff,
        state="refused", decided_at=timezone.now(),
    )  # fmt: skip
    TopUpRequest.objects.create(
        account=Account.objects.get(), method=TopUpMethod.objects.create(name="Bank"), amount=1,
        credit=1, reference="R1", client_token=uuid.uuid4(),
    )  # fmt: skip
    for kind in ("refund", "top_up"):
        Approval.objects.create(
            kind=kind, account=Account.objects.get(), amount=1, requested_by=staff
        )
    HeldChange.objects.create(service=service, reasons=["cost"], fields={})
    Service.objects.update(is_held=True)
    Gate.objects.create(provider=service.provider, pause="funds")
    BulkRun.objects.create(
        action="refund", started_by=staff, created_at=now - timedelta(minutes=20)
    )  # fmt: skip

    assert set(waiting(owner).values()) == {1}, waiting(owner)
    for each in KINDS:
        answer = owner.get(each.link())
        assert answer.status_code == 200, each.title
        shown = len(answer.context["cl"].result_list)
        assert shown == (3 if "attention=any" in each.link() else 1), each.title
    assert [
        each.pk
        for each in owner.get("/admin/orders/order/?attention=stuck").context["cl"].result_list
    ] == [stuck.pk]
    cache.clear()
    assert f">{len(KINDS)}<" in text(owner.get("/admin/")).replace(" ", "").replace("\n", "")


def test_a_refused_refund_is_on_the_list_until_somebody_has_seen_to_it(
    owner: Client, customer: User, staff: User
) -> None:
    approval = Approval.objects.create(
        kind="refund",
        account=Account.objects.get(),
        amount=1,
        requested_by=staff,
        state="refused",
        decided_at=timezone.now(),
    )
    assert waiting(owner)["Refused refunds"] == 1

    url = reverse("admin:wallet_approval_seen", args=[approval.pk])
    assert url in text(owner.get(reverse("admin:wallet_approval_change", args=[approval.pk])))
    owner.post(url, {"token": uuid.uuid4()})

    assert waiting(owner)["Refused refunds"] == 0
    assert url not in text(owner.get(reverse("admin:wallet_approval_change", args=[approval.pk])))


def test_the_menus_of_all_staff_cost_one_count_of_each_kind(client: Client, staff: User) -> None:
    other = User.objects.create_superuser("second@example.com", "a-Long-passw0rd")
    client.force_login(staff)
    client.get("/admin/orders/bulkrun/")
    client.force_login(other)
    with CaptureQueriesContext(connection) as queries:
        client.get("/admin/orders/bulkrun/")

    assert len(queries) <= 8, [each["sql"][:80] for each in queries]


def test_the_list_names_only_what_a_person_may_see(client: Client, db: None) -> None:
    nobody = User.objects.create_user("s@example.com", "a-Long-passw0rd", is_staff=True)
    client.force_login(nobody)

    assert waiting(client) == {}
    assert client.get("/admin/sales/").status_code == 403


@pytest.mark.parametrize(
    ("readings", "days"),
    [
        ([], None),
        ([(0, "50")], None),
        ([(0, "50"), (24, "40")], "4.0"),
        # What was paid in between is no spending.
        ([(0, "50"), (12, "45"), (13, "100"), (24, "95")], "9.5"),
        ([(0, "50"), (24, "50")], None),
    ],
)
def test_days_left_follow_from_what_was_spent(
    readings: list[tuple[int, str]], days: str | None
) -> None:
    found = days_left([(NOW + timedelta(hours=hour), D(amount)) for hour, amount in readings])

    assert found == (None if days is None else D(days))


def test_a_provider_is_low_when_its_balance_won_t_last(provider: Provider) -> None:
    now = timezone.now()
    for hours, amount in ((48, 50), (24, 30), (1, 10)):
        at = now - timedelta(hours=hours)
        BalanceSample.objects.create(provider=provider, asked_at=at, answered_at=at, amount=amount)
    assert low_balances(now) == [provider.pk]

    Provider.objects.update(is_enabled=False)
    assert low_balances(now) == []


def test_the_provider_page_tells_its_week(owner: Client, customer: User, service: Service) -> None:
    now = timezone.now()
    order = bought(customer, service)
    for number, (outcome, kind, seconds) in enumerate(
        [(Outcome.REJECTED, "link", 1), (Outcome.NOT_SENT, "", 9), (Outcome.ACCEPTED, "", 3)], 1
    ):
        Attempt.objects.create(
            order=order, number=number, outcome=outcome, kind=kind, upstream_id="7",
            sending_at=now - timedelta(seconds=seconds), finished_at=now,
        )  # fmt: skip
    found = facts(service.provider, now)
    assert (found.accepted, found.answered, found.success_percent) == (1, 2, D("50.0"))
    assert (found.median, found.p95) == (timedelta(seconds=1), timedelta(seconds=3))
    assert found.errors == [("link", 1)]

    page = text(owner.get(reverse("admin:catalog_provider_change", args=[service.provider.pk])))
    assert "50.0 % (1/2)" in page
    assert "3000 ms" in page
    assert "wrong link: refund" in page


def test_the_provider_page_shows_money_that_nothing_explains(
    owner: Client, service: Service
) -> None:
    ProviderDay.objects.create(
        provider=service.provider, day=date(2026, 3, 2), booked=D("1.5"), given_back=D("0.25"),
        overcharged=D("0.125"), spent=D("9.75"), unexplained=D("8.5"),
    )  # fmt: skip

    page = text(owner.get(reverse("admin:catalog_provider_change", args=[service.provider.pk])))

    assert "Accounts by day" in page
    for amount in ("1.50", "0.25", "0.125", "9.75", "8.50"):
        assert amount in page


def test_a_job_is_run_from_its_page_and_never_on_get(owner: Client) -> None:
    Job.objects.create(name="prune_history")
    url = reverse("admin:panel_job_run_now", args=["prune_history"])
    owner.get(url)
    assert Job.objects.get().started_at is None

    answer = owner.post(url, {"token": uuid.uuid4()}, follow=True)
    assert "0 changes forgotten" in text(answer)
    assert Job.objects.get().succeeded

    Job.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
    assert "runs at this moment" in text(owner.post(url, {"token": uuid.uuid4()}))
    Job.objects.create(name="of_old")
    old = reverse("admin:panel_job_run_now", args=["of_old"])
    assert "no longer run" in text(owner.post(old, {"token": uuid.uuid4()}))
    assert owner.get("/admin/panel/job/").status_code == 200


@pytest.mark.parametrize(
    ("hour", "started", "expected"),
    [
        (None, None, None),
        (None, timedelta(minutes=-2), timedelta(minutes=3)),
        (None, timedelta(minutes=-9), None),
        (3, timedelta(hours=-1), timedelta(hours=15)),
        (3, timedelta(hours=-30), None),
    ],
)
def test_a_jobs_next_run_follows_from_its_last(
    hour: int | None, started: timedelta | None, expected: timedelta | None
) -> None:
    job = PeriodicJob("any", timedelta(minutes=5), hour=hour)
    found = next_run(job, None if started is None else NOW + started, NOW)

    assert found == (None if expected is None else NOW + expected)


@pytest.mark.parametrize("name", ["roll_up_sales", "heal_sales", "refresh_times", "prune_history"])
def test_the_new_jobs_run(db: None, settings: Settings, name: str) -> None:
    assert run_periodic_job(name, now=True)
    assert Job.objects.get(name=name).succeeded


def test_the_menu_has_a_number_only_when_something_waits(
    owner: Client, customer: User, service: Service
) -> None:
    def shown() -> list[str]:
        cache.clear()
        page = owner.get("/admin/panel/job/").content.decode()
        menu = page[: page.index("Refills and cancels")]
        return re.findall(r"Needs attention\s*</span>\s*<span[^>]*>\s*(\S*)\s*</span>", menu)

    assert shown() == []

    bought(customer, service, dispatch=Dispatch.UNKNOWN, attention="unknown")
    assert shown() == ["1"]


def test_the_service_list_stays_lean_with_many_services(
    owner: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A slow machine must not ask for the menu's counts a second time.
    monkeypatch.setattr("panel.attention._BADGE_SECONDS", 3600)
    name = "🔥 INSTAGRAM LIKES – INSTANT START – SUPER FAST – LIFETIME GUARANTEE – NON-DROP"
    categories = Category.objects.bulk_create(
        Category(name=f"{name} {number}") for number in range(400)
    )
    crowd = {
        "upstream_id": "'x' || n",
        "name": f"'{name} ' || n",
        "description": f"'{name * 10}'",
        "category_id": f"{categories[0].pk} + n % 400",
    }
    multiply(service, 20_000, crowd)
    owner.get("/healthz")  # notes in the session that staff were here, once a minute
    with CaptureQueriesContext(connection) as queries:
        owner.get("/admin/catalog/service/")
    assert len(queries) <= 20  # with the menu's counts, which are kept from here on

    for query in ("", "?q=instagram", "?state=on_sale", "?margin=none", "?margin=below", "?p=399",
                  "?changed=7", "?o=3", f"?category__id__exact={categories[7].pk}",
                  "?order_type=default&state=held"):  # fmt: skip
        with CaptureQueriesContext(connection) as queries:
            answer = owner.get(f"/admin/catalog/service/{query}")
        assert answer.status_code == 200, query
        assert len(queries) <= 20, query
        assert len(answer.content) <= 300_000, query


def test_sums_and_costs_beyond_an_amount_do_not_stop_the_sales(
    customer: User, service: Service
) -> None:
    """Such as a day in a currency of small units, or a charge that a provider makes up."""
    first, second = bought(customer, service), bought(customer, service)
    Order.objects.filter(pk=first.pk).update(
        **accepted(1), charge=D(999_999_999), status=Status.COMPLETED,
        upstream_charge=D(999_999_999), exchange_rate=D(40_000), finished_at=timezone.now(),
    )  # fmt: skip
    Order.objects.filter(pk=second.pk).update(**accepted(2), charge=D(999_999_999))

    assert sales.renew(first.created_at.date())

    total = site_total()
    assert (total.revenue, total.cost) == (D(1_999_999_998), D(999_999_999) * 40_000 + second.cost)
