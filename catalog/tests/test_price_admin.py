"""Price rules, history, bulk changes, files and customers' prices, through the admin's pages."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, User
from catalog import history
from catalog.models import (
    BulkChange,
    Category,
    CustomerGroup,
    CustomerPrice,
    GroupMember,
    Provider,
    Service,
    ServiceChange,
    SiteRules,
)
from catalog.rates import for_customer, price_list_key, rate_for
from catalog.tests.test_admin import PROVIDER, SERVICES, act, edit_list, page, text

D = Decimal


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


def another(service: Service, **fields: Any) -> Service:
    number = str(Service.objects.count() + 1)
    values = {
        "provider": service.provider, "category": service.category, "upstream_id": number,
        "name": f"Likes {number}", "type": "Default", "order_type": "default", "cost_rate": D(1),
        "price_rate": D("1.5"), "max_quantity": 100, **fields,
    }  # fmt: skip
    return Service.objects.create(**values)


def saved(owner: Client, service: Service, **fields: str) -> None:
    """Save the service's own page with these fields beside what it has."""
    answer = owner.post(page(service), {"is_sold": "on", **fields})
    assert answer.status_code == 302, answer.context["errors"]
    service.refresh_from_db()


def plan(owner: Client, operation: str, *chosen: Service, **fields: str) -> BulkChange:
    form = {
        "action": "plan_change", "_selected_action": [service.pk for service in chosen],
        "operation": operation, "planned": "yes", **fields,
    }  # fmt: skip
    answer = owner.post(SERVICES, form)
    assert answer.status_code == 302, text(answer)
    bulk = BulkChange.objects.first()
    assert bulk is not None
    assert answer["Location"] == page(bulk)
    return bulk


def applied(owner: Client, bulk: BulkChange) -> None:
    assert act(owner, bulk, "apply").status_code == 200
    bulk.refresh_from_db()
    assert bulk.applied_at


@pytest.mark.parametrize(
    ("rows", "price", "sentence"),
    [
        ({}, "1.50", "Markup of the whole site: 50 %."),
        ({"site": {"markup_percent": 20}}, "1.20", "Markup of the whole site: 20 %."),
        (
            {"site": {"markup_percent": 20}, "provider": {"markup_fixed": "0.4"}},
            "1.40", "Markup of the provider: 0.40.",
        ),
        (
            {"provider": {"markup_percent": 30}, "category": {"markup_percent": 10, "markup_fixed": 1}},
            "2.10", "Markup of the category: 10 % + 1.00.",
        ),
        (
            {"category": {"markup_percent": 10}, "service": {"markup_percent": 70}},
            "1.70", "Markup of the service: 70 %.",
        ),
        (
            {"provider": {"margin_min": 60}},
            "2.50", "Raised to the minimum margin of the provider.",
        ),
        (
            {"site": {"rounding_step": "0.4"}},
            "1.60", "Rounded up to 0.40 by the rule of the whole site.",
        ),
        ({"service": {"pinned_rate": "1.23"}, "site": {"margin_min": 60}}, "1.23", "Pinned."),
    ],
)  # fmt: skip
def test_each_layer_prices_from_its_own_page_and_the_service_says_which_rule_it_was(
    owner: Client, service: Service, rows: dict[str, dict[str, Any]], price: str, sentence: str
) -> None:
    Service.objects.update(price_rate=D("1.5"))
    if "site" in rows:
        assert owner.get("/admin/catalog/siterules/").status_code == 200
        assert not SiteRules.objects.exists()
        owner.post("/admin/catalog/siterules/", rows["site"])
    if "provider" in rows:
        owner.post(
            page(service.provider), {**PROVIDER, "url": "https://a.example.com", **rows["provider"]}
        )
    if "category" in rows:
        owner.post(page(service.category), {"position": 0, "is_visible": "on", **rows["category"]})
    if "service" in rows:
        saved(owner, service, **rows["service"])

    service.refresh_from_db()
    assert service.price_rate == D(price)
    assert sentence in text(owner.get(page(service)))


def test_an_edit_in_the_list_leaves_its_trace_with_the_person(
    owner: Client, staff: User, service: Service
) -> None:
    edit_list(owner, SERVICES, [{"id": service.pk, "pinned_rate": "3", "is_sold": ""}])

    changes = list(ServiceChange.objects.order_by("pk"))
    assert [change.fields for change in changes] == [
        {"pinned_rate": [None, "3"], "is_sold": [True, False]},
        {"price_rate": ["2", "3"]},
    ]
    assert {change.actor for change in changes} == {staff}


def test_saving_without_a_change_leaves_no_trace(owner: Client, service: Service) -> None:
    saved(owner, service, own_name="")

    assert not ServiceChange.objects.exists()


def test_the_service_page_shows_its_history_and_a_chart(owner: Client, service: Service) -> None:
    assert "No changes yet." in text(owner.get(page(service)))
    saved(owner, service, pinned_rate="3")
    saved(owner, service, pinned_rate="4")

    shown = text(owner.get(page(service)))

    assert "price rate: 3 → 4" in shown
    assert len(re.findall(r'<path d="M[0-9HV,-]+" class="panel-line-', shown)) == 2
    assert "Between 1.00 and 4.00" in shown


def test_the_course_of_a_price_is_read_from_its_history(service: Service, staff: User) -> None:
    for price, before in (("3", "2"), ("4", "3")):
        Service.objects.update(price_rate=D(price))
        history.write([(service.pk, {"price_rate": [before, price]})], history.Cause(actor=staff))
    service.refresh_from_db()

    assert [point.price for point in history.points(service)] == [2, 3, 4, 4]


def test_old_history_is_forgotten_and_only_when_it_is_wanted(
    service: Service, settings: Settings
) -> None:
    now = timezone.now()
    long_ago = now - timedelta(days=11)
    history.write([(service.pk, {"name": ["a", "b"]})], history.Cause(), at=long_ago)
    history.write([(service.pk, {"name": ["b", "c"]})], history.Cause())

    settings.PRICE_HISTORY_DAYS = 0
    assert history.prune(now) == 0
    settings.PRICE_HISTORY_DAYS = 10
    assert history.prune(now) == 1
    assert ServiceChange.objects.get().fields == {"name": ["b", "c"]}


def test_a_new_exchange_rate_is_kept_with_the_one_before(
    owner: Client, staff: User, service: Service
) -> None:
    form = {**PROVIDER, "url": "https://a.example.com"}
    owner.post(page(service.provider), {**form, "exchange_rate": "1.5"})
    owner.post(page(service.provider), {**form, "exchange_rate": "1.5", "name": "Other"})

    kept = service.provider.exchange_rates.get()
    assert (kept.old, kept.new, kept.actor) == (1, D("1.5"), staff)


@pytest.mark.parametrize(
    ("operation", "fields", "values", "price"),
    [
        ("markup", {"number": "80"}, {"markup_percent": D(80)}, "1.8"),
        ("markup", {}, {"markup_percent": None}, "1.5"),
        ("fixed", {"number": "0.3"}, {"markup_fixed": D("0.3")}, "1.4"),
        ("margin", {"number": "75"}, {"margin_min": D(75)}, "4"),
        ("step", {"number": "0.25"}, {"rounding_step": D("0.25")}, "1.25"),
        ("pin", {"number": "2.2"}, {"pinned_rate": D("2.2")}, "2.2"),
        ("pin", {}, {"pinned_rate": D("1.1")}, "1.1"),
        ("raise", {"number": "10"}, {"pinned_rate": D("1.21")}, "1.21"),
        ("round", {"number": "0.5"}, {"pinned_rate": D("1.5")}, "1.5"),
        ("stop", {}, {"is_sold": False}, "1.1"),
    ],
)
def test_what_the_preview_of_a_bulk_change_shows_is_what_is_written_and_undone(
    owner: Client,
    service: Service,
    operation: str,
    fields: dict[str, str],
    values: dict[str, Any],
    price: str,
) -> None:
    Service.objects.update(markup_percent=10, price_rate=D("1.1"))
    other = another(service, price_rate=D("1.5"))
    before = Service.objects.values().get(pk=service.pk)

    bulk = plan(owner, operation, service, **fields)
    assert Service.objects.values().get(pk=service.pk) == before
    name = next(iter(values))
    shown = text(owner.get(page(bulk)))
    assert f"1.1 → {price}" in shown
    assert str(getattr(Service._meta.get_field(name), "verbose_name", "")) in shown

    applied(owner, bulk)
    after: dict[str, Any] = dict(Service.objects.values().get(pk=service.pk))
    assert (after[name], after["price_rate"]) == (values[name], D(price))
    assert bulk.rows[0][4] == price

    act(owner, bulk, "undo")
    undone = Service.objects.values().get(pk=service.pk)
    assert {**undone, "changed_at": None} == {**before, "changed_at": None}
    assert Service.objects.get(pk=other.pk).changed_at == other.changed_at


def test_a_service_moved_to_another_category_gets_its_rules(
    owner: Client, service: Service
) -> None:
    dear = Category.objects.create(name="Dear", markup_percent=300)

    bulk = plan(owner, "move", service, category=str(dear.pk))
    assert "category: Followers → Dear" in text(owner.get(page(bulk)))
    applied(owner, bulk)
    assert "category: Followers → Dear" in text(owner.get(page(service)))

    service.refresh_from_db()
    assert (service.category, service.keeps_category, service.price_rate) == (dear, True, 4)


def test_an_undone_move_has_the_list_compared_again(owner: Client, service: Service) -> None:
    dear = Category.objects.create(name="Dear")
    bulk = plan(owner, "move", service, category=str(dear.pk))
    applied(owner, bulk)
    Provider.objects.update(
        catalogue_sha256="of bytes", rows_sha256="of rows", contents_sha256="of contents"
    )

    act(owner, bulk, "undo")

    assert Provider.objects.filter(catalogue_sha256="", rows_sha256="", contents_sha256="").exists()


def test_a_row_that_changed_since_the_preview_is_left_out_and_named(
    owner: Client, service: Service
) -> None:
    another(service)
    third = another(service)
    bulk = plan(owner, "markup", *Service.objects.all(), number="80")
    Service.objects.filter(pk=service.pk).update(markup_percent=5)
    Service.objects.filter(pk=third.pk).update(cost_rate=2, price_rate=3)

    applied(owner, bulk)

    assert [row[1] for row in bulk.problems] == [
        "Somebody has changed it since the preview.",
        "Its price would be another one than in the preview.",
    ]
    rows = Service.objects.order_by("pk").values_list("markup_percent", flat=True)
    assert list(rows) == [5, 80, None]


def test_an_undo_spares_what_was_changed_again(owner: Client, service: Service) -> None:
    other = another(service)
    bulk = plan(owner, "markup", service, other, number="80")
    applied(owner, bulk)
    Service.objects.filter(pk=other.pk).update(markup_percent=90)

    act(owner, bulk, "undo")

    assert Service.objects.get(pk=service.pk).markup_percent is None
    assert Service.objects.get(pk=other.pk).markup_percent == 90
    answer = act(owner, bulk, "undo")
    assert "There is nothing to undo." in text(answer)


@pytest.mark.parametrize(
    ("operation", "fields", "field"),
    [
        ("raise", {}, "number"), ("round", {"number": "0"}, "number"), ("move", {}, "category"),
        ("nonsense", {}, "operation"),
    ],
)  # fmt: skip
def test_a_plan_without_what_it_needs_is_asked_for_it(
    owner: Client, service: Service, operation: str, fields: dict[str, str], field: str
) -> None:
    form = {"action": "plan_change", "_selected_action": [service.pk], "planned": "yes"}
    answer = owner.post(SERVICES, {**form, "operation": operation, **fields})

    assert field in answer.context["form"].errors
    assert not BulkChange.objects.exists()


def test_the_list_of_bulk_changes_counts_rows_without_reading_them(
    owner: Client, service: Service
) -> None:
    bulk = plan(owner, "markup", service, another(service), number="80")
    with CaptureQueriesContext(connection) as queries:
        answer = owner.get("/admin/catalog/bulkchange/")

    assert [each.rows_in_it for each in answer.context["cl"].result_list] == [2]
    assert not [one for one in queries if '"catalog_bulkchange"."rows",' in one["sql"]]
    assert "<td" in text(owner.get(page(bulk)))


def test_a_price_below_cost_is_no_plan(owner: Client, service: Service) -> None:
    bulk = plan(owner, "pin", service, number="0.5")

    assert bulk.rows == []
    assert "below the cost of 1" in text(owner.get(page(bulk)))


def test_a_discount_and_an_own_price_are_what_one_customer_pays(
    owner: Client, customer: User, staff: User, service: Service
) -> None:
    other = another(service)
    group = {
        "name": "Friends", "discount_percent": "10", "members-TOTAL_FORMS": "1",
        "members-INITIAL_FORMS": "0", "members-0-customer": customer.pk,
    }  # fmt: skip
    assert owner.post("/admin/catalog/customergroup/add/", group).status_code == 302
    form = {"customer": customer.pk, "service": service.pk, "rate": "1.1"}
    assert owner.post("/admin/catalog/customerprice/add/", form).status_code == 302

    assert rate_for(customer, service) == (D("1.1"), "own", False)
    assert rate_for(customer, other) == (D("1.35"), "group", False)
    assert rate_for(staff, service) == (D(2), "list", False)


def test_a_customers_price_below_the_floor_is_refused_without_the_tick_and_marked_with_it(
    owner: Client, customer: User, service: Service
) -> None:
    SiteRules.objects.create(pk=1, margin_min=20)
    form = {"customer": customer.pk, "service": service.pk, "rate": "1.2"}

    refused = owner.post("/admin/catalog/customerprice/add/", form)
    assert "come to 1.25" in str(refused.context["adminform"].form.errors["rate"])
    owner.post("/admin/catalog/customerprice/add/", {**form, "may_undercut": "on"})

    assert rate_for(customer, service) == (D("1.2"), "own", True)
    assert "below the minimum margin" in text(owner.get("/admin/catalog/customerprice/"))


def test_a_floor_that_rises_later_lifts_the_customers_price(
    owner: Client, customer: User, service: Service
) -> None:
    CustomerPrice.objects.create(customer=customer, service=service, rate=D("1.1"))
    Service.objects.update(margin_min=50)

    assert rate_for(customer, service).rate == 2
    assert "raised to the minimum margin" in text(owner.get("/admin/catalog/customerprice/"))


@pytest.mark.parametrize("where", ["service", "category", "provider", "site"])
def test_the_least_margin_of_any_layer_holds_a_discount(
    customer: User, service: Service, where: str
) -> None:
    group = CustomerGroup.objects.create(name="Half", discount_percent=50)
    GroupMember.objects.create(group=group, customer=customer)
    if where == "site":
        SiteRules.objects.create(pk=1, margin_min=20)
    else:
        model = {"service": Service, "category": Category, "provider": Provider}[where]
        model.objects.update(margin_min=20)  # type: ignore[attr-defined]

    assert rate_for(customer, service).rate == D("1.25")


def test_prices_of_a_page_cost_no_query_of_their_own(customer: User, service: Service) -> None:
    for _ in range(5):
        another(service)
    CustomerPrice.objects.create(customer=customer, service=service, rate=D("1.1"))

    with CaptureQueriesContext(connection) as queries:
        rows = for_customer(Service.objects.order_by("pk"), customer.pk)
        rates = [rate_for(customer, each).rate for each in rows]

    assert rates == [D("1.1"), *[D("1.5")] * 5]
    assert len(queries) == 1


def test_customers_with_the_same_prices_share_a_prepared_list(
    customer: User, staff: User, service: Service
) -> None:
    assert price_list_key(customer.pk) == price_list_key(staff.pk) == ""
    group = CustomerGroup.objects.create(name="Half", discount_percent=50)
    for user in (customer, staff):
        GroupMember.objects.create(group=group, customer=user)
    assert price_list_key(customer.pk) == price_list_key(staff.pk) == f"group-{group.pk}"

    CustomerPrice.objects.create(customer=customer, service=service, rate=D("1.1"))
    assert price_list_key(customer.pk) == f"customer-{customer.pk}"


def test_a_plan_of_many_services_asks_no_more_than_one_of_few(
    owner: Client, service: Service, staff: User
) -> None:
    """The site's rule and a category's are looked up once, however many services they price."""
    dear = Category.objects.create(name="Dear", markup_percent=300)
    services = [service, *(another(service) for _ in range(30))]
    counts = []
    for chosen in (services[:2], services):
        with CaptureQueriesContext(connection) as planning:
            bulk = plan(owner, "move", *chosen, category=str(dear.pk))
        with CaptureQueriesContext(connection) as applying:
            applied(owner, bulk)
        act(owner, bulk, "undo")
        counts.append((len(planning), len(applying)))

    assert counts[0] == counts[1]


def test_the_customers_prices_are_listed_without_a_query_for_each(
    owner: Client, customer: User, service: Service
) -> None:
    counts = []
    for _ in range(2):
        for one in (another(service) for _ in range(5)):
            CustomerPrice.objects.create(customer=customer, service=one, rate=2)
        with CaptureQueriesContext(connection) as queries:
            assert "fine" in text(owner.get("/admin/catalog/customerprice/"))
        counts.append(len(queries))

    assert counts[1] <= counts[0]


@pytest.mark.parametrize("layer", ["siterules", "category"])
def test_a_rules_preview_writes_nothing_and_saving_then_writes_what_it_showed(
    owner: Client, service: Service, layer: str
) -> None:
    Service.objects.update(price_rate=D("1.5"))
    pinned = another(service, pinned_rate=D(3), price_rate=D(3))
    dear = another(service, cost_rate=D(2), price_rate=D("3.1"), name="<b>Dear</b>")
    address = "/admin/catalog/siterules/" if layer == "siterules" else page(service.category)
    typed = {"markup_percent": "90", "position": "0", "is_visible": "on"}
    before = list(Service.objects.order_by("pk").values())
    entries = AuditEntry.objects.count()
    assert "Preview prices" in text(owner.get(address))

    shown = owner.post(address, {**typed, f"catalog_{layer}_preview_prices": ""})

    rows = shown.context["table"]["rows"]
    assert [row[1:] for row in rows] == [["1.5", "1.9", D("26.7")], ["3.1", "3.8", D("22.6")]]
    assert "2 prices would change. Nothing is written yet." in text(shown)
    assert "&lt;b&gt;Dear" in text(shown)
    assert list(Service.objects.order_by("pk").values()) == before
    assert not SiteRules.objects.exists()
    assert (AuditEntry.objects.count(), ServiceChange.objects.count()) == (entries, 0)
    assert "successfully" not in text(shown) + text(owner.get("/admin/"))

    saved = dict(shown.context["typed"])
    assert owner.post(address, {**saved, "_save": "1"}).status_code == 302
    prices = Service.objects.in_bulk([service.pk, dear.pk, pinned.pk])
    assert prices[service.pk].price_rate == D("1.9")
    assert (prices[dear.pk].price_rate, prices[pinned.pk].price_rate) == (D("3.8"), 3)


def test_a_preview_of_a_rule_that_is_wrong_says_so(owner: Client, service: Service) -> None:
    answer = owner.post(
        "/admin/catalog/siterules/", {"margin_min": "100", "catalog_siterules_preview_prices": ""}
    )

    assert "margin_min" in answer.context["adminform"].form.errors
    assert not SiteRules.objects.exists()
