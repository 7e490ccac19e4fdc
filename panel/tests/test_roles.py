"""What each role of staff can and can't do, by URL; ceilings, second approvals, two-factor, audit."""

import re
import threading
import uuid
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import audit
from accounts.models import AuditEntry, AuditHead, User
from catalog.models import Provider, Service
from orders import desk
from orders.errors import NotPossible
from orders.models import Order
from orders.services import place_order
from orders.states import Dispatch
from panel.roles import ensure_roles
from panel.tests.people import person
from wallet.models import Account, Approval, Ceiling, Entry
from wallet.services import open_account, top_up

D = Decimal
As = Callable[[str], Client]


@pytest.fixture(autouse=True)
def _roles(db: None) -> None:
    """The test database is emptied after tests with real transactions, roles included."""
    ensure_roles()


@pytest.fixture
def signed_in(db: None) -> As:
    def sign_in(role: str) -> Client:
        client = Client()
        client.force_login(person(role))
        return client

    return sign_in


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    """Accepted, with a charge of 120."""
    top_up(user=customer, amount=D(1000), reference="more")
    Service.objects.update(max_quantity=100_000)
    made = place_order(
        customer=customer, service=service, client_token=uuid.uuid4(),
        values={"link": "https://example.com/a", "quantity": "60000"},
    )  # fmt: skip
    Order.objects.update(dispatch=Dispatch.ACCEPTED, upstream_id="77")
    made.refresh_from_db()
    return made


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def text(answer: Any) -> str:
    return str(answer.content.decode())


LISTS = {
    "orders_order": {"Support", "Owner"},
    "orders_request": {"Support", "Owner"},
    "orders_bulkrun": {"Support", "Owner"},
    "orders_bulkrow": {"Support", "Owner"},
    "wallet_topuprequest": {"Support", "Owner"},
    "wallet_topupmethod": {"Owner"},
    "wallet_account": {"Support", "Owner"},
    "wallet_entry": {"Support", "Owner"},
    "wallet_approval": {"Support", "Owner"},
    "wallet_ceiling": {"Owner"},
    "catalog_service": {"Support", "Pricing", "Owner"},
    "catalog_category": {"Support", "Pricing", "Owner"},
    "catalog_provider": {"Pricing", "Owner"},
    "catalog_heldchange": {"Pricing", "Owner"},
    "catalog_bulkchange": {"Pricing", "Owner"},
    "catalog_customergroup": {"Pricing", "Owner"},
    "catalog_customerprice": {"Pricing", "Owner"},
    "catalog_errorrule": {"Owner"},
    "accounts_user": {"Support", "Owner"},
    "accounts_auditentry": {"Owner"},
    "auth_group": {"Owner"},
    "panel_job": {"Owner"},
}


@pytest.mark.parametrize("role", ["Support", "Pricing", "Owner"])
def test_a_role_reaches_its_lists_and_sees_no_way_to_others(
    signed_in: As, service: Service, role: str
) -> None:
    client = signed_in(role)
    menu = text(client.get("/admin/"))
    for name, roles in LISTS.items():
        address = url(f"{name}_changelist")
        assert client.get(address).status_code == (200 if role in roles else 403), name
        if role not in roles:
            assert f'href="{address}"' not in menu, name


# What is done with a POST, and who may: by a dialog or the page's own form.
DEEDS: dict[str, set[str]] = {
    "orders_order_refund": {"Support", "Owner"},
    "orders_order_check_now": {"Support", "Owner"},
    "orders_order_settle": {"Support", "Owner"},
    "orders_order_set_counts": {"Support", "Owner"},
    "orders_order_bind_unknown": {"Owner"},
    "orders_order_resend_unknown": {"Owner"},
    "wallet_account_top_up": {"Support", "Owner"},
    "wallet_account_adjust": {"Owner"},
    "catalog_provider_sync_now": {"Pricing", "Owner"},
    "catalog_provider_preview_sync": {"Pricing", "Owner"},
    "catalog_provider_test_connection": {"Owner"},
    "catalog_provider_pause": {"Owner"},
}


@pytest.mark.parametrize("role", ["Support", "Pricing", "Owner"])
def test_a_role_opens_its_own_dialogs_and_no_other(signed_in: As, order: Order, role: str) -> None:
    client = signed_in(role)
    keys = {
        "orders": order.pk,
        "wallet": Account.objects.get(user=order.customer).pk,
        "catalog": order.provider_id,
    }
    for name, roles in DEEDS.items():
        address = url(name, keys[name.partition("_")[0]])
        assert client.get(address).status_code == (200 if role in roles else 403), name
        if role not in roles:
            assert client.post(address, {"token": uuid.uuid4()}).status_code == 403, name


def test_pricing_edits_prices_and_support_does_not(signed_in: As, service: Service) -> None:
    address = url("catalog_service_change", service.pk)
    form = {"is_sold": "on", "pinned_rate": "3"}

    assert signed_in("Support").post(address, form).status_code == 403
    assert signed_in("Pricing").post(address, form).status_code == 302
    assert Service.objects.get().price_rate == 3


def test_pricing_never_sees_a_key_nor_changes_an_address(signed_in: As, provider: Provider) -> None:
    client = signed_in("Pricing")
    address = url("catalog_provider_change", provider.pk)

    shown = text(client.get(address))
    assert "fixture" not in shown
    assert "new_key" not in shown
    assert client.post(address, {"url": "https://b.example.com"}).status_code == 403


def test_nobody_but_an_owner_hands_out_rights(signed_in: As, customer: User) -> None:
    assert signed_in("Support").get(url("accounts_user_change", customer.pk)).status_code == 200
    form = {"email": customer.email, "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    assert (
        Client().post(url("accounts_user_change", customer.pk), form).status_code == 302
    )  # to the sign-in
    owner = signed_in("Owner")
    owner.post(url("accounts_user_change", customer.pk), form)
    customer.refresh_from_db()
    assert customer.is_staff


def refund(client: Client, order: Order, amount: str) -> Any:
    form = {"amount": amount, "code": "goodwill", "reason": "they wrote", "token": uuid.uuid4()}
    return client.post(url("orders_order_refund", order.pk), form, follow=True)


def test_refunds_up_to_the_ceiling_are_paid_and_the_rest_waits(signed_in: As, order: Order) -> None:
    client = signed_in("Support")
    assert "40.00 refunded" in text(refund(client, order, "40"))

    # Split in two it is above the ceiling of 50 all the same.
    assert "waits for a second person" in text(refund(client, order, "40"))

    order.refresh_from_db()
    assert order.refunded == 40
    approval = Approval.objects.get()
    assert (approval.amount, approval.order_number, approval.state) == (40, order.pk, "open")


def test_a_second_person_approves_and_nobody_their_own(signed_in: As, order: Order) -> None:
    support = signed_in("Support")
    refund(support, order, "100")
    approval = Approval.objects.get()
    page, approve = (
        url("wallet_approval_change", approval.pk),
        url("wallet_approval_approve", approval.pk),
    )

    assert support.post(approve, {"token": uuid.uuid4()}).status_code == 403
    assert approve not in text(support.get(page))
    owner = signed_in("Owner")
    assert approve in text(owner.get(page))
    assert "100.00 paid" in text(owner.post(approve, {"token": uuid.uuid4()}, follow=True))

    order.refresh_from_db()
    approval.refresh_from_db()
    assert (order.refunded, approval.state) == (100, "approved")
    assert Entry.objects.get(kind="staff_refund").actor == approval.decided_by
    again = owner.post(approve, {"token": uuid.uuid4()})
    assert "only once" in text(again)
    assert Entry.objects.filter(kind="staff_refund").count() == 1


def test_an_owner_with_a_ceiling_does_not_approve_their_own_nor_above_it(
    signed_in: As, order: Order
) -> None:
    Ceiling.objects.create(group=Group.objects.get(name="Owner"), refund=60)
    owner = signed_in("Owner")
    refund(owner, order, "80")
    own = Approval.objects.get()
    assert (
        owner.post(url("wallet_approval_approve", own.pk), {"token": uuid.uuid4()}).status_code
        == 403
    )

    other = Client()
    other.force_login(person("Owner", "second"))
    answer = other.post(url("wallet_approval_approve", own.pk), {"token": uuid.uuid4()})
    assert "high enough ceiling" in text(answer)
    own.refresh_from_db()
    assert own.state == "open"


def test_the_database_itself_refuses_an_approval_of_ones_own(order: Order, staff: User) -> None:
    approval = Approval.objects.create(
        kind="refund",
        account=Account.objects.get(user=order.customer),
        amount=1,
        requested_by=staff,
    )
    approval.decided_by = staff
    with pytest.raises(IntegrityError), transaction.atomic():
        approval.save()


def test_what_is_refused_is_not_paid(signed_in: As, order: Order) -> None:
    refund(signed_in("Support"), order, "100")
    approval = Approval.objects.get()
    signed_in("Owner").post(url("wallet_approval_refuse", approval.pk), {"token": uuid.uuid4()})

    approval.refresh_from_db()
    order.refresh_from_db()
    assert (approval.state, order.refunded) == ("refused", 0)


def test_top_ups_of_a_day_count_together(signed_in: As, customer: User) -> None:
    client = signed_in("Support")
    account = Account.objects.get(user=customer)
    for amount in ("150", "51"):
        form = {"amount": amount, "note": "bank", "token": uuid.uuid4()}
        client.post(url("wallet_account_top_up", account.pk), form)

    account.refresh_from_db()
    assert account.balance == 160
    waiting = Approval.objects.get()
    assert (waiting.kind, waiting.amount) == ("top_up", 51)
    signed_in("Owner").post(url("wallet_approval_approve", waiting.pk), {"token": uuid.uuid4()})
    account.refresh_from_db()
    assert account.balance == 211


def test_a_top_up_sent_twice_asks_nobody_for_the_second(signed_in: As, customer: User) -> None:
    client = signed_in("Support")
    account = Account.objects.get(user=customer)
    form = {"amount": "150", "note": "bank", "token": uuid.uuid4()}
    answers = [client.post(url("wallet_account_top_up", account.pk), form) for _ in range(2)]

    # Together they are above the ceiling of a day, but the second is the first.
    assert "done a moment ago" in text(answers[1])
    assert not Approval.objects.exists()
    account.refresh_from_db()
    assert account.balance == 160


def test_nobody_gives_to_themselves_alone(signed_in: As, order: Order, service: Service) -> None:
    support, owner = signed_in("Support"), signed_in("Owner")
    clerk, boss = (User.objects.get(email=f"{name}@example.com") for name in ("support", "owner"))
    form = {"amount": "20", "note": "bank"}
    for person_ in (clerk, boss):
        wallet = open_account(person_)
        support.post(url("wallet_account_top_up", wallet.pk), {**form, "token": uuid.uuid4()})
    Order.objects.update(customer=clerk)
    assert "waits for a second person" in text(refund(support, order, "1"))

    # To the boss it is within the ceiling; to oneself everything waits.
    assert [Account.objects.get(user=each).balance for each in (clerk, boss)] == [0, 20]
    assert set(Approval.objects.values_list("kind", "account__user")) == {
        ("top_up", clerk.pk), ("refund", clerk.pk),
    }  # fmt: skip
    support.post(
        url("wallet_account_top_up", open_account(boss).pk),
        {"amount": "500", "token": uuid.uuid4()},
    )
    to_boss = Approval.objects.get(account__user=boss)
    approve = url("wallet_approval_approve", to_boss.pk)
    assert "second person" in text(owner.post(approve, {"token": uuid.uuid4()}))
    assert Account.objects.get(user=boss).balance == 20


def test_an_approved_refund_never_exceeds_what_is_left(signed_in: As, order: Order) -> None:
    refund(signed_in("Support"), order, "100")
    owner = signed_in("Owner")
    refund(owner, order, "90")

    approve = url("wallet_approval_approve", Approval.objects.get().pk)
    assert "at most what is left" in text(owner.post(approve, {"token": uuid.uuid4()}))
    assert Approval.objects.get().state == "open"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_refunds_at_once_give_back_no_more_than_the_charge(order: Order, staff: User) -> None:
    barrier = threading.Barrier(4)
    outcomes: list[str] = []

    def give() -> None:
        barrier.wait(timeout=60)
        try:
            desk.refund(
                order_id=order.pk, amount=D(70), reason="r", actor=staff, token=uuid.uuid4()
            )
            outcomes.append("paid")
        except NotPossible:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=give) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["paid", "refused", "refused", "refused"]
    order.refresh_from_db()
    assert order.refunded == 70


def test_staff_without_a_second_factor_are_led_to_set_one_up(
    client: Client, staff: User, settings: Settings
) -> None:
    settings.REQUIRE_STAFF_2FA = True
    client.force_login(staff)

    assert client.get("/admin/").url == reverse("mfa_activate_totp")  # type: ignore[attr-defined]
    assert client.post("/admin/auth/group/add/", {"name": "x"}).status_code == 302
    assert not Group.objects.filter(name="x").exists()
    assert client.get(reverse("mfa_activate_totp")).status_code in {200, 302}

    Authenticator.objects.create(user=staff, type=Authenticator.Type.TOTP, data={"secret": "x"})
    assert client.get("/admin/").status_code == 200


def test_every_staff_action_is_in_the_chain_with_before_and_after(
    signed_in: As, order: Order
) -> None:
    owner = signed_in("Owner")
    service = order.service
    owner.post(url("catalog_service_change", service.pk), {"is_sold": "on", "pinned_rate": "3"})
    refund(owner, order, "5")

    *history, priced, paid = AuditEntry.objects.order_by("number")
    assert [entry.action for entry in history] == ["Services changed", "Services changed"]
    assert priced.details["pinned_rate"] == [None, "3"]
    assert priced.actor is not None
    assert priced.actor.email == "owner@example.com"
    assert priced.address == "127.0.0.1"
    assert "5.00 refunded" in paid.action
    assert paid.previous_hash == priced.hash
    assert list(audit.problems()) == []


def test_a_key_never_reaches_the_audit_log(signed_in: As, provider: Provider) -> None:
    owner = signed_in("Owner")
    form = {
        "name": "Other", "url": "https://a.example.com", "currency": "USD", "exchange_rate": "1",
        "new_key": "canary-5f4e3d2c1b", "loss_tolerance": "0", "hold_vanishing": "30",
        "gate-TOTAL_FORMS": "0", "gate-INITIAL_FORMS": "0",
        "scan-TOTAL_FORMS": "0", "scan-INITIAL_FORMS": "0",
    }  # fmt: skip
    assert owner.post(url("catalog_provider_change", provider.pk), form).status_code == 302

    assert "canary" not in str(list(AuditEntry.objects.values()))
    assert AuditEntry.objects.get().details["new_key"] == "•"
    assert Provider.objects.get().api_key == "canary-5f4e3d2c1b"


def test_the_audit_log_has_no_way_to_be_edited(signed_in: As, staff: User) -> None:
    entry = audit.record("did it", actor=staff)
    owner = signed_in("Owner")
    page = url("accounts_auditentry_change", entry.pk)

    assert owner.get(page).status_code == 200
    assert owner.post(page, {"action": "nothing"}).status_code == 403
    assert (
        owner.post(url("accounts_auditentry_delete", entry.pk), {"post": "yes"}).status_code == 403
    )
    assert owner.get(url("accounts_auditentry_add")).status_code == 403


def checked() -> str:
    out = StringIO()
    try:
        call_command("check_audit", stdout=out, stderr=out)
    except CommandError as exc:
        out.write(f"failed: {exc}")
    return out.getvalue()


TABLE = "accounts_auditentry"  # a constant, so no statement below is put together from outside


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (f"UPDATE {TABLE} SET action = 'nothing' WHERE number = 2", "entry 2 was changed"),
        (f"UPDATE {TABLE} SET actor_id = NULL WHERE number = 2", "entry 2 was changed"),
        (f"""UPDATE {TABLE} SET details = '{{"a": [1, 3]}}' WHERE number = 2""", "entry 2 was changed"),
        (f"DELETE FROM {TABLE} WHERE number = 2", "entries 2 to 2 are missing"),
        (f"DELETE FROM {TABLE} WHERE number = 3", "ends at entry 2, and 3 were written"),
        (f"DELETE FROM {TABLE}", "ends at entry 0, and 3 were written"),
    ],
)  # fmt: skip
def test_a_direct_edit_of_the_audit_log_is_found(staff: User, damage: str, found: str) -> None:
    for number in range(3):
        audit.record(f"deed {number}", actor=staff, details={"a": [1, number]})
    assert "holds: 3 entries" in checked()

    with connection.cursor() as cursor:
        cursor.execute(damage)

    assert found in checked()
    assert "failed" in checked()


def test_an_entry_rewritten_with_its_own_hash_breaks_the_next(staff: User) -> None:
    for number in range(3):
        audit.record(f"deed {number}", actor=staff)
    entry = AuditEntry.objects.get(number=2)
    entry.action = "nothing"
    AuditEntry.objects.filter(number=2).update(action="nothing", hash=audit.digest(entry))

    assert "entry 3 does not follow the one before it" in checked()


def test_what_is_rolled_back_leaves_no_gap(staff: User) -> None:
    audit.record("one", actor=staff)
    with transaction.atomic():
        audit.record("two", actor=staff)
        transaction.set_rollback(True)
    audit.record("three", actor=staff)

    assert [entry.action for entry in AuditEntry.objects.order_by("number")] == ["one", "three"]
    assert list(audit.problems()) == []
    assert AuditHead.objects.get().number == 2


def test_the_menu_of_a_role_names_only_what_it_may_open(signed_in: As, service: Service) -> None:
    for role in ("Support", "Pricing", "Owner"):
        client = signed_in(role)
        menu = set(re.findall(r'href="(/admin/[a-z]+/[a-z]+/)"', text(client.get("/admin/"))))
        assert menu
        for address in menu:
            assert client.get(address).status_code in {200, 302}, (role, address)
