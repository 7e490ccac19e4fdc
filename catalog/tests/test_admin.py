"""Providers, categories and prices in the admin; providers answer over HTTP."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.admin.providers import masked
from catalog.admin.services import margin_percent
from catalog.models import Category, ErrorRule, Provider, Service, SyncRun
from tests.crowds import multiply
from upstream.simulator import Simulator

ROW = {
    "service": 1, "name": "Followers, fast", "type": "Default", "category": "Followers",
    "rate": "1.00", "min": "10", "max": "10000", "refill": True, "cancel": True,
}  # fmt: skip
PROVIDER = {
    "name": "Upstream", "is_enabled": "on", "currency": "USD", "exchange_rate": "1",
    "gate-TOTAL_FORMS": "0", "gate-INITIAL_FORMS": "0", "loss_tolerance": "0",
    "hold_vanishing": "30", "sync_names": "on", "sync_descriptions": "on",
    "sync_categories": "on", "sync_limits": "on", "sync_flags": "on",
    "scan-TOTAL_FORMS": "0", "scan-INITIAL_FORMS": "0",
}  # fmt: skip


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def simulator(provider: Provider, settings: Settings) -> Iterator[Simulator]:
    """What the provider's address leads to."""
    settings.ALLOW_PRIVATE_UPSTREAM = True
    with Simulator([ROW], key="key-of-the-fixture", balance=Decimal("73.5")) as simulator:
        Provider.objects.update(url=simulator.url)
        yield simulator


def page(row: Any, name: str = "change") -> str:
    return reverse(f"admin:catalog_{row._meta.model_name}_{name}", args=[row.pk])


def act(client: Client, row: Any, name: str, **fields: str) -> Any:
    return client.post(page(row, name), {"token": uuid.uuid4(), **fields}, follow=True)


def text(answer: Any) -> str:
    return str(answer.content.decode())


def edit_list(client: Client, url: str, rows: list[dict[str, Any]]) -> HttpResponse:
    """Save an editable list with these rows; each names its `id`."""
    form = {"form-TOTAL_FORMS": len(rows), "form-INITIAL_FORMS": len(rows), "_save": "Save"}
    for number, row in enumerate(rows):
        form |= {f"form-{number}-{name}": value for name, value in row.items()}
    return client.post(url, form)  # type: ignore[return-value]


SERVICES = "/admin/catalog/service/"


def test_the_key_of_a_new_provider_is_stored_and_an_empty_one_keeps_it(owner: Client) -> None:
    form = {**PROVIDER, "url": "https://panel.example.com/api/v2"}
    assert "new_key" in owner.post("/admin/catalog/provider/add/", form).context["errors"][0][
        0
    ] or (not Provider.objects.exists())
    owner.post("/admin/catalog/provider/add/", {**form, "new_key": "first-key-0123456789"})
    provider = Provider.objects.get()
    assert provider.api_key == "first-key-0123456789"

    owner.post(page(provider), {**form, "name": "Renamed", "new_key": ""})
    provider = Provider.objects.get()
    assert (provider.name, provider.api_key) == ("Renamed", "first-key-0123456789")

    owner.post(page(provider), {**form, "new_key": "second-key-0123456789"})
    assert Provider.objects.get().api_key == "second-key-0123456789"
    shown = text(owner.get(page(provider)))
    assert "••••6789" in shown
    assert "second-key" not in shown


@pytest.mark.parametrize(
    ("key", "shown"), [("0123456789abcdef", "••••cdef"), ("short-key", "••••"), ("", "••••")]
)
def test_a_key_is_masked_and_a_short_one_not_shown_at_all(key: str, shown: str) -> None:
    assert masked(key) == shown


def test_a_key_that_cannot_be_read_can_be_entered_again(
    owner: Client, provider: Provider, settings: Settings
) -> None:
    settings.SECRET_KEYS = ["another-key-than-the-one-it-was-stored-with"]

    assert "enter it again" in text(owner.get(page(provider)))
    assert owner.get("/admin/catalog/provider/").status_code == 200
    assert "enter it again" in text(act(owner, provider, "test_connection"))
    owner.post(page(provider), {**PROVIDER, "url": "https://a.example.com", "new_key": "new-key"})
    assert Provider.objects.get().api_key == "new-key"


@pytest.mark.parametrize(
    "url", ["http://panel.example.com/api/v2", "https://user:secret@panel.example.com", "ftp://a.b"]
)
def test_an_address_that_is_not_safe_is_refused(
    owner: Client, provider: Provider, settings: Settings, url: str
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAM = False

    answer = owner.post(page(provider), {**PROVIDER, "url": url})

    assert answer.status_code == 200
    assert "url" in answer.context["adminform"].form.errors


def test_plain_http_is_allowed_where_private_providers_are(
    owner: Client, provider: Provider, settings: Settings
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAM = True

    owner.post(page(provider), {**PROVIDER, "url": "http://127.0.0.1:9100/api/v2"})

    assert Provider.objects.get().url == "http://127.0.0.1:9100/api/v2"


def test_a_connection_test_tells_the_balance_and_writes_nothing(
    owner: Client, provider: Provider, simulator: Simulator
) -> None:
    assert "the balance is 73.50 USD" in text(act(owner, provider, "test_connection"))
    assert Provider.objects.get().balance is None


def test_a_connection_test_says_what_is_wrong_and_never_the_key(
    owner: Client, provider: Provider, simulator: Simulator
) -> None:
    provider.api_key = "wrong-key-0123456789"
    provider.save(update_fields=["api_key"])

    answer = text(act(owner, provider, "test_connection"))

    assert "The provider refused: Invalid API key" in answer
    assert "wrong-key" not in answer


def test_a_provider_out_of_reach_is_a_sentence_not_a_crash(
    owner: Client, provider: Provider, settings: Settings
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAM = True

    for action in ("test_connection", "check_balance", "sync_now"):
        answer = act(owner, provider, action)
        assert answer.status_code == 200
        assert answer.context["form"].non_field_errors(), action


def test_checking_the_balance_stores_it(
    owner: Client, provider: Provider, simulator: Simulator
) -> None:
    assert "The balance is 73.50 USD." in text(act(owner, provider, "check_balance"))
    assert Provider.objects.get().balance == Decimal("73.5")


def test_a_sync_fills_the_catalogue_and_tells_what_it_found(
    owner: Client, provider: Provider, simulator: Simulator
) -> None:
    answer = text(act(owner, provider, "sync_now"))

    assert "1 added" in answer
    assert Service.objects.get().name == "Followers, fast"
    assert SyncRun.objects.get().outcome == "applied"


def test_a_new_exchange_rate_makes_new_prices(owner: Client, service: Service) -> None:
    owner.post(
        page(service.provider),
        {**PROVIDER, "url": "https://a.example.com", "exchange_rate": "2", "markup_percent": "10"},
    )

    service.refresh_from_db()
    assert service.price_rate == Decimal("2.2")


def test_a_categorys_markup_makes_new_prices_in_the_list_itself(
    owner: Client, service: Service
) -> None:
    edit_list(
        owner,
        "/admin/catalog/category/",
        [{"id": service.category_id, "own_name": "Fans", "position": 3, "is_visible": "on",
          "markup_percent": "25"}],
    )  # fmt: skip

    category = Category.objects.get()
    service.refresh_from_db()
    assert (category.title, category.position) == ("Fans", 3)
    assert service.price_rate == Decimal("1.25")


def test_prices_are_edited_in_the_list(owner: Client, service: Service) -> None:
    edit_list(owner, SERVICES, [{"id": service.pk, "markup_percent": "40", "is_sold": "on"}])
    service.refresh_from_db()
    assert service.price_rate == Decimal("1.4")

    edit_list(owner, SERVICES, [{"id": service.pk, "markup_percent": "40", "pinned_rate": "3.5"}])
    service.refresh_from_db()
    assert (service.price_rate, service.is_sold) == (Decimal("3.5"), False)

    edit_list(owner, SERVICES, [{"id": service.pk, "markup_fixed": "0.25", "is_sold": "on"}])
    service.refresh_from_db()
    assert service.price_rate == Decimal("1.25")


@pytest.mark.parametrize("pinned", ["0.5", "0", "-1"])
def test_a_pinned_price_below_cost_is_refused_with_the_cost(
    owner: Client, service: Service, pinned: str
) -> None:
    row = {"id": service.pk, "pinned_rate": pinned, "is_sold": "on"}
    in_list = text(edit_list(owner, SERVICES, [row]))
    on_page = text(owner.post(page(service), {"pinned_rate": pinned, "is_sold": "on"}))

    for answer in (in_list, on_page):
        assert "can&#x27;t be below the cost of 1.00" in answer
    service.refresh_from_db()
    assert (service.pinned_rate, service.price_rate) == (None, 2)


def test_the_cost_that_a_pinned_price_must_reach_is_in_our_currency(
    owner: Client, service: Service
) -> None:
    Provider.objects.update(exchange_rate=4)

    answer = edit_list(owner, SERVICES, [{"id": service.pk, "pinned_rate": "3"}])

    assert "cost of 4.00" in text(answer)


def test_saving_a_price_does_not_undo_what_a_sync_wrote_meanwhile(
    owner: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Service.save

    def save_after_a_sync(self: Service, **options: Any) -> None:
        Service.objects.update(cost_rate=3, name="Renamed by the provider")
        save(self, **options)

    monkeypatch.setattr(Service, "save", save_after_a_sync)
    edit_list(owner, SERVICES, [{"id": service.pk, "markup_percent": "100", "is_sold": "on"}])

    service.refresh_from_db()
    assert (service.cost_rate, service.price_rate) == (3, 6)
    assert service.name == "Renamed by the provider"


def test_nothing_but_its_editable_fields_can_be_posted_to_a_service(
    owner: Client, service: Service
) -> None:
    owner.post(
        page(service),
        {"own_name": "Mine", "is_sold": "on", "cost_rate": "0.1", "price_rate": "0.1",
         "min_quantity": "1", "name": "x"},
    )  # fmt: skip

    service.refresh_from_db()
    assert (service.own_name, service.cost_rate, service.price_rate) == ("Mine", 1, 2)
    assert (service.min_quantity, service.name) == (10, "Followers, fast")


def bulk(client: Client, action: str, *services: Service, **fields: str) -> Any:
    chosen = [str(service.pk) for service in services]
    return client.post(SERVICES, {"action": action, "_selected_action": chosen, **fields})


def test_bulk_actions_ask_first_and_then_do_it(owner: Client, service: Service) -> None:
    Service.objects.update(is_held=True)

    asked = bulk(owner, "release_held", service)
    assert service.title in text(asked)
    assert Service.objects.filter(is_held=True).exists()
    done = bulk(owner, "release_held", service, confirmed="yes")

    assert done.status_code == 302
    assert Service.objects.filter(is_held=False).exists()


def test_bulk_actions_change_only_the_chosen_rows(owner: Client, service: Service) -> None:
    other = Service.objects.get()
    other.pk, other.upstream_id = None, "2"
    other.save()

    Service.objects.update(is_held=True)

    bulk(owner, "release_held", service, confirmed="yes")

    assert list(Service.objects.filter(is_held=True)) == [other]


def test_a_bulk_action_can_take_in_every_row_of_the_filter(owner: Client, service: Service) -> None:
    for number in range(60):
        Service.objects.create(
            provider=service.provider, category=service.category, upstream_id=f"h{number}",
            name="New", cost_rate=1, price_rate=2, is_held=True,
        )  # fmt: skip
    held = Service.objects.filter(is_held=True)
    form = {"action": "release_held", "select_across": "1", "_selected_action": [held[0].pk]}
    asked = owner.post(f"{SERVICES}?state=held", form)
    assert asked.context["count"] == 60
    owner.post(f"{SERVICES}?state=held", {**form, "confirmed": "yes"})

    assert not Service.objects.filter(is_held=True).exists()
    assert LogEntry.objects.filter(change_message__contains="Release").count() == 60


def test_who_may_only_look_can_neither_edit_nor_act(
    client: Client, db: None, service: Service
) -> None:
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(clerk)
    edit_list(client, SERVICES, [{"id": service.pk, "pinned_rate": "9"}])
    bulk(client, "stop_selling", service, confirmed="yes")
    client.post(page(service.provider), {**PROVIDER, "url": "https://evil.example.com"})
    shown = client.get(page(service.provider))

    assert shown.status_code == 200
    assert "new_key" not in text(shown)
    service.refresh_from_db()
    assert (service.pinned_rate, service.is_sold) == (None, True)
    assert Provider.objects.get().url == service.provider.url


@pytest.mark.parametrize(
    ("cost", "price", "margin"),
    [
        ("1", "2", "50.0"),
        ("1", "1", "0.0"),
        ("3", "2", "-50.0"),
        ("1", "0", "0"),
        ("2", "3", "33.3"),
    ],
)
def test_margin_is_what_stays_of_the_price(cost: str, price: str, margin: str) -> None:
    assert margin_percent(Decimal(cost), Decimal(price)) == Decimal(margin)


def test_the_margin_is_told_in_a_word_and_not_by_colour_alone(
    owner: Client, service: Service
) -> None:
    assert "50.0 % good" in text(owner.get(SERVICES))
    Service.objects.update(cost_rate=2)
    assert "0.0 % none" in text(owner.get(SERVICES))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=on_sale", ["plain"]),
        ("state=held", ["held"]),
        ("state=vanished", ["vanished"]),
        ("state=refused", ["refused"]),
        ("state=off", ["off"]),
        ("margin=pinned", ["held"]),
        ("margin=none", ["off"]),
        ("margin=below", []),
        ("changed=1", ["held", "vanished", "refused", "off"]),
        ("changed=7", ["plain", "held", "vanished", "refused", "off"]),
        ("changed=x", ["plain", "held", "vanished", "refused", "off"]),
        ("q=plain", ["plain"]),
        ("q=u-held", ["held"]),
        ("order_type=poll", ["vanished"]),
    ],
)
def test_services_are_found_by_state_margin_type_name_and_id(
    owner: Client, service: Service, query: str, names: list[str]
) -> None:
    made: dict[str, dict[str, Any]] = {
        "plain": {},
        "held": {"is_held": True, "pinned_rate": 2},
        "vanished": {"is_present": False, "order_type": "poll"},
        "refused": {"refusal": "type"},
        "off": {"is_sold": False, "price_rate": 1},
    }
    for name, fields in made.items():
        Service.objects.create(
            provider=service.provider, category=service.category, upstream_id=f"u-{name}",
            name=name, **{"cost_rate": 1, "price_rate": 2, **fields},
        )  # fmt: skip
    Service.objects.filter(pk=service.pk).delete()
    long_ago = timezone.now() - timedelta(days=3)
    Service.objects.filter(name="plain").update(changed_at=long_ago)

    found = owner.get(f"{SERVICES}?{query}").context["cl"].queryset

    assert sorted(each.name for each in found) == sorted(names)


@pytest.mark.parametrize(
    ("cost", "rate", "price", "margins"),
    [
        # 0.1 times 1.1 is a little more than 0.11 in a double, and 0.29 times 1.1 a little less.
        ("0.1", "1.1", "0.11", ["none"]),
        ("0.29", "1.1", "0.319", ["none"]),
        ("0.29", "1.1", "0.3189999", ["none", "below"]),
        ("0.29", "1.1", "0.32", []),
        # Rounded up to the last digit of a rate, the cost reaches the price.
        ("0.0000003", "1.1", "0.0000004", ["none"]),
    ],
)
def test_a_margin_of_nothing_is_found_to_the_last_digit(
    owner: Client, service: Service, cost: str, rate: str, price: str, margins: list[str]
) -> None:
    Service.objects.update(cost_rate=Decimal(cost), price_rate=Decimal(price))
    Provider.objects.update(exchange_rate=Decimal(rate))

    found = [
        margin
        for margin in ("none", "below")
        if owner.get(f"{SERVICES}?margin={margin}").context["cl"].queryset.exists()
    ]
    assert found == margins


def test_an_error_text_is_stored_as_it_is_looked_up(owner: Client, provider: Provider) -> None:
    owner.post(
        "/admin/catalog/errorrule/add/",
        {"provider": provider.pk, "text": "  Odd ERROR: 42! ", "kind": "funds"},
    )

    rule = ErrorRule.objects.get()
    assert (rule.text, rule.kind) == ("odd error 0", "funds")
    again = owner.post(
        "/admin/catalog/errorrule/add/",
        {"provider": provider.pk, "text": "odd error 7", "kind": "link"},
    )
    assert again.status_code == 200
    assert ErrorRule.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"kind": "nonsense"}, {"text": "!!!"}])
def test_a_rule_that_means_nothing_is_refused(
    owner: Client, provider: Provider, wrong: dict[str, str]
) -> None:
    rule = {"provider": provider.pk, "text": "Odd error", "kind": "funds"}

    assert owner.post("/admin/catalog/errorrule/add/", {**rule, **wrong}).status_code == 200
    assert not ErrorRule.objects.exists()


def test_the_service_list_stays_light_with_twenty_thousand_services(
    owner: Client, service: Service, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    categories = Category.objects.bulk_create(
        Category(name=f"Category {number} with a rather long name") for number in range(400)
    )
    multiply(
        service, 20_000,
        {
            "upstream_id": "'b' || n", "category_id": f"{categories[0].pk} + n % 400",
            "name": "n || ' Instagram followers, real and active, 30 days refill, 10K a day'",
            "max_quantity": "100000",
        },
    )  # fmt: skip
    owner.get("/healthz")  # notes in the session that staff were here, once a minute
    for query in ("", "?state=on_sale", "?q=followers", f"?category__id__exact={categories[3].pk}"):
        with django_assert_max_num_queries(20):
            answer = owner.get(f"{SERVICES}{query}")
        assert len(answer.context["cl"].result_list) == 50
        assert len(answer.content) <= 300_000, query
