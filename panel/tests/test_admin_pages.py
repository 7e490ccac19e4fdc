"""Every page of the admin: it opens, changes nothing on GET, shows no key and has its own policy."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.contrib.staticfiles import finders
from django.core import serializers
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.models import Mail, User
from catalog.models import (
    BulkChange,
    CustomerGroup,
    CustomerPrice,
    ErrorRule,
    HeldChange,
    LinkRule,
    Service,
    SiteRules,
    SyncRun,
)
from orders.models import Attempt, Gate, Order, Request
from orders.run_models import BulkRun
from orders.states import Dispatch, Outcome, RequestState
from orders.timeline import Code, record
from panel.attention import KINDS
from panel.models import Job
from wallet.models import Account, Approval, Ceiling, Entry, TopUpMethod, TopUpRequest

KEY = "canary-9f8e7d6c5b4a3210"


@pytest.fixture
def world(customer: User, service: Service) -> dict[str, Any]:
    """One row of everything the admin shows, by model."""
    provider = service.provider
    provider.api_key = KEY
    provider.save()
    order = Order.objects.create(
        customer=customer, service=service, provider=provider, order_type="default",
        link="https://example.com/a", parameters={"link": "https://example.com/a"}, quantity=1000,
        price_rate=2, charge=2, cost=1, exchange_rate=1, expected_charge=1,
        dispatch=Dispatch.UNKNOWN, attempt_no=1,
    )  # fmt: skip
    Attempt.objects.create(
        order=order, number=1, outcome=Outcome.UNKNOWN, kind="unrecognised", reason="Odd error",
        answer='{"error":"Odd error","key":"[key]"}',
    )  # fmt: skip
    record(order, Code.UNKNOWN)
    method = TopUpMethod.objects.create(name="Bank", instructions="Pay there.")
    return {
        "accounts.mail": Mail.objects.create(user=customer, kind="completed"),
        "wallet.topupmethod": method,
        "wallet.topuprequest": TopUpRequest.objects.create(
            account=customer.account,
            method=method,
            amount=5,
            credit=5,
            reference="r",
            client_token=uuid.uuid4(),
        ),
        "catalog.linkrule": LinkRule.objects.create(kind="word", text="casino"),
        "accounts.user": customer,
        "wallet.account": Account.objects.get(),
        "wallet.entry": Entry.objects.get(),
        "catalog.provider": provider,
        "catalog.category": service.category,
        "catalog.service": service,
        "catalog.errorrule": ErrorRule.objects.create(
            provider=provider, text="odd error", kind="link"
        ),
        "catalog.syncrun": SyncRun.objects.create(
            provider=provider, refused_rows=[["7", "---", "separator"]]
        ),
        "orders.order": order,
        "orders.request": Request.objects.create(
            order=order, provider=provider, kind="cancel", state=RequestState.QUEUED
        ),
        "orders.gate": Gate.objects.create(provider=provider),
        "catalog.siterules": SiteRules.objects.create(pk=1),
        "catalog.heldchange": HeldChange.objects.create(
            service=service, reasons=["cost"], fields={"cost_rate": ["1", "3"]}
        ),
        "catalog.bulkchange": BulkChange.objects.create(title="plan", actor=customer),
        "catalog.customergroup": CustomerGroup.objects.create(name="Friends"),
        "catalog.customerprice": CustomerPrice.objects.create(
            customer=customer, service=service, rate=2
        ),
        "wallet.approval": Approval.objects.create(
            kind="refund", account=Account.objects.get(), amount=1, requested_by=customer
        ),
        "wallet.ceiling": Ceiling.objects.create(group=Group.objects.create(name="Clerks")),
        "accounts.auditentry": audit.record("did it", actor=customer),
        "orders.bulkrun": BulkRun.objects.create(action="check", started_by=customer, total=1),
        "panel.job": Job.objects.create(name="sweep", started_at=timezone.now(), succeeded=True),
    }


def pages(world: dict[str, Any]) -> list[str]:
    """Each list, each row's page and each dialog of the admin."""
    found = [reverse("admin:index")]
    for model, model_admin in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found.append(reverse(f"admin:{name}_changelist"))
        row = world.get(model._meta.label_lower)
        if row is None:
            continue
        found.append(reverse(f"admin:{name}_change", args=[row.pk]))
        found += [
            reverse(f"admin:{action.action_name}", args=[row.pk])
            for action in model_admin._get_base_actions_detail()  # type: ignore[attr-defined]
        ]
    return found


def everything() -> str:
    """All rows of our tables, to see whether anything changed."""
    admin.autodiscover()
    models = [
        model
        for model in admin.site._registry
        if model._meta.app_label in {"accounts", "wallet", "catalog", "orders", "panel"}
    ]
    tables: list[Any] = [*models, Gate, Attempt]
    rows = [row for table in tables for row in table._default_manager.order_by("pk")]
    return str(serializers.serialize("json", rows))


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    staff.refresh_from_db()
    return client


def test_every_page_opens_changes_nothing_and_hides_the_providers_key(
    owner: Client, world: dict[str, Any]
) -> None:
    before = everything()

    answers = {page: owner.get(page) for page in pages(world)}

    assert {page: answer.status_code for page, answer in answers.items()} == dict.fromkeys(
        answers, 200
    )
    assert len(answers) > 35
    assert everything() == before
    shown = {page: answer.content.decode() for page, answer in answers.items()}
    assert [page for page, html in shown.items() if KEY in html or KEY[:8] in html] == []
    provider = reverse("admin:catalog_provider_change", args=[world["catalog.provider"].pk])
    assert "••••3210" in shown[provider]


def test_the_dialogs_of_an_order_are_among_the_pages(world: dict[str, Any]) -> None:
    number = world["orders.order"].pk
    dialogs = {page for page in pages(world) if page.startswith(f"/admin/orders/order/{number}/")}

    assert {page.split("/")[-2] for page in dialogs} == {
        "change", "check_now", "look_now", "send_at_loss", "set_counts", "settle", "refund", "refill", "cancel", "bind_unknown", "refund_unknown",
        "resend_unknown", "explain", "acknowledge",
    }  # fmt: skip


def test_a_customer_and_a_stranger_reach_no_page(
    client: Client, customer: User, world: dict[str, Any]
) -> None:
    for page in pages(world):
        assert client.get(page).status_code == 302, page
    client.force_login(customer)
    for page in pages(world):
        assert client.get(page).status_code in {302, 403}, page


@pytest.fixture
def clerk(db: None) -> User:
    """Staff without any right."""
    return User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)


def test_staff_without_rights_reach_nothing_but_an_empty_first_page(
    client: Client, clerk: User, world: dict[str, Any]
) -> None:
    client.force_login(clerk)
    first = reverse("admin:index")

    assert client.get(first).status_code == 200
    for page in pages(world):
        if page != first:
            assert client.get(page).status_code == 403, page
            assert client.post(page, {"token": "x"}).status_code == 403, page


def test_staff_who_may_only_look_see_no_action_and_can_do_none(
    client: Client, clerk: User, world: dict[str, Any]
) -> None:
    clerk.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(clerk)
    before = everything()
    for page in pages(world):
        model_page = page.count("/") <= 4 or page.endswith("/change/")
        assert client.get(page).status_code == (200 if model_page else 403), page
        client.post(page, {"reason": "x", "amount": "1", "name": "other", "_save": "1"})

    order = reverse("admin:orders_order_change", args=[world["orders.order"].pk])
    assert "/refund_unknown/" not in client.get(order).content.decode()
    assert everything() == before


def test_a_post_without_the_token_against_forgery_is_refused(
    staff: User, world: dict[str, Any]
) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(staff)
    wallet = world["wallet.account"]

    answer = strict.post(
        reverse("admin:wallet_account_top_up", args=[wallet.pk]), {"amount": "5", "token": "x"}
    )

    assert answer.status_code == 403
    assert Entry.objects.count() == 1


def test_only_the_admin_may_evaluate_scripts(owner: Client, world: dict[str, Any]) -> None:
    policy = owner.get(reverse("admin:index"))["Content-Security-Policy"]
    outside = owner.get(reverse("account_email"))["Content-Security-Policy"]

    assert "'unsafe-eval'" in policy
    assert "object-src 'none'" in policy
    assert "unsafe" not in outside


def test_the_admins_sign_in_is_the_accounts_sign_in(client: Client, db: None) -> None:
    answer = client.get("/admin/login/", follow=True)

    assert answer.redirect_chain[0][0].startswith(reverse("account_login"))


def test_the_themes_files_are_there() -> None:
    names = ["css/admin.css", "unfold/css/styles.css", "unfold/js/alpine/alpine.js"]

    assert all(finders.find(name) for name in names)


@pytest.mark.parametrize("page", ["catalog_service", "catalog_category"])
def test_each_input_of_an_editable_list_says_what_and_whose_it_is(
    owner: Client, world: dict[str, Any], page: str
) -> None:
    html = owner.get(reverse(f"admin:{page}_changelist")).content.decode()

    inputs = [tag.split(">")[0] for tag in html.split("<input")[1:]]
    editable = [tag for tag in inputs if 'name="form-0' in tag and 'type="hidden"' not in tag]
    assert editable
    assert all("aria-label=" in tag for tag in editable)


def test_the_first_page_shows_the_real_figures(
    owner: Client, world: dict[str, Any], django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    Job.objects.create(name="check_ledger", succeeded=False, result="2 wallets differ")
    SyncRun.objects.create(provider=world["catalog.provider"], outcome=SyncRun.Outcome.FAILED)
    with django_assert_max_num_queries(20 + len(KINDS)):  # the menu's counts are kept for a while
        answer = owner.get(reverse("admin:index"))

    tiles = {str(tile.title): tile for tile in answer.context["tiles"]}
    assert tiles["Unconfirmed orders"].value == 1
    assert not tiles["Unconfirmed orders"].is_fine
    assert tiles["Failed syncs in 24 hours"].value == 1
    assert tiles["Frozen wallets"].is_fine
    assert tiles["Top-ups to check"].value == 1
    assert str(tiles["Oldest unsent order"].value) == "none"
    assert [row[1] for row in answer.context["today"]["rows"]] == [1, 0, 0, 0, 0, 0]
    assert "2 wallets differ" in answer.content.decode()


def test_the_first_page_shows_nobody_more_than_they_may_see(client: Client, clerk: User) -> None:
    client.force_login(clerk)

    context = client.get(reverse("admin:index")).context

    assert context["tiles"] == []
    assert [context[name] for name in ("today", "providers", "jobs")] == [None] * 3


@pytest.mark.parametrize("name", ["catalog_provider", "wallet_account"])
@pytest.mark.parametrize("number", ["abc", "-1", pytest.param("9" * 4400, id="long")])
def test_a_number_that_is_none_leads_to_no_page(
    client: Client, staff: User, name: str, number: str
) -> None:
    client.force_login(staff)
    page = f"{reverse(f'admin:{name}_changelist')}{number}/change/"

    assert client.get(page).status_code == 302


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("wallet_entry", "kind__exact=%00"), ("wallet_approval", "state__in=open,%00"),
        ("orders_order", "status__exact=%00"), ("orders_request", "kind__exact=%00"),
        ("catalog_service", "type=%00"), ("accounts_user", "is_active__exact=%00"),
    ],
)  # fmt: skip
def test_a_list_asked_for_what_no_text_holds_is_shown_whole(
    client: Client, staff: User, name: str, query: str
) -> None:
    client.force_login(staff)
    address = reverse(f"admin:{name}_changelist")

    assert client.get(f"{address}?{query}").headers["Location"] == address
