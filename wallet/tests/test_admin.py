"""Wallets in the admin."""

import re
import uuid
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User
from wallet.models import Account, Entry
from wallet.services import top_up


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def wallet(customer: User) -> Account:
    return Account.objects.get(user=customer)


def url(name: str, wallet: Account) -> str:
    return reverse(f"admin:wallet_account_{name}", args=[wallet.pk])


def balance(wallet: Account) -> Decimal:
    return Decimal(Account.objects.get(pk=wallet.pk).balance)


def test_a_top_up_credits_the_wallet_and_says_who_did_it(
    owner: Client, staff: User, wallet: Account
) -> None:
    answer = owner.post(
        url("top_up", wallet), {"amount": "5.25", "note": "bank 17", "token": uuid.uuid4()}
    )

    assert answer["Location"] == url("change", wallet)
    entry = wallet.entries.first()
    assert entry
    assert (entry.kind, entry.amount, entry.note) == ("top_up", Decimal("5.25"), "bank 17")
    assert entry.actor == staff
    assert balance(wallet) == Decimal("15.25")


def test_a_double_click_credits_once(owner: Client, wallet: Account) -> None:
    form = owner.get(url("top_up", wallet)).content.decode()
    found = re.search(r'name="token" value="([^"]+)"', form)
    assert found
    answers: list[HttpResponse] = [
        owner.post(url("top_up", wallet), {"amount": "5", "token": found[1]})  # type: ignore[misc]
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [302, 200]
    assert "done a moment ago" in answers[1].content.decode()
    assert balance(wallet) == 15
    assert wallet.entries.count() == 2


def test_each_dialog_has_a_token_of_its_own(owner: Client, wallet: Account) -> None:
    pages = [owner.get(url("top_up", wallet)).content.decode() for _ in range(2)]

    tokens = {re.findall(r'name="token" value="([^"]+)"', page)[0] for page in pages}
    assert len(tokens) == 2


@pytest.mark.parametrize(
    "amount", ["0", "-1", "", "0.000001", "1000000000", "NaN", "Infinity", "ten"]
)
def test_a_senseless_top_up_is_refused_beside_its_field(
    owner: Client, wallet: Account, amount: str
) -> None:
    answer = owner.post(url("top_up", wallet), {"amount": amount, "token": uuid.uuid4()})

    assert answer.status_code == 200
    assert answer.context["form"].errors["amount"]
    assert balance(wallet) == 10


def test_a_top_up_without_token_does_nothing(owner: Client, wallet: Account) -> None:
    owner.post(url("top_up", wallet), {"amount": "5"})

    assert balance(wallet) == 10


def test_a_dialog_opened_in_the_page_answers_with_where_to_go(
    owner: Client, wallet: Account
) -> None:
    answer = owner.post(
        url("top_up", wallet),
        {"amount": "5", "token": uuid.uuid4()},
        headers={"HX-Request": "true"},
    )

    assert answer["HX-Redirect"] == url("change", wallet)
    assert (
        "<html"
        not in owner.get(url("top_up", wallet), headers={"HX-Request": "true"}).content.decode()
    )


def test_an_adjustment_needs_a_reason_and_happens_once(owner: Client, wallet: Account) -> None:
    asked = {"amount": "-3", "token": str(uuid.uuid4())}

    owner.post(url("adjust", wallet), asked)
    assert balance(wallet) == 10
    for _ in range(2):
        owner.post(url("adjust", wallet), {**asked, "reason": "typing mistake"})
    assert balance(wallet) == 7
    assert Entry.objects.get(kind="adjustment").note == "typing mistake"


def test_an_adjustment_below_nothing_says_what_is_missing(owner: Client, wallet: Account) -> None:
    answer = owner.post(
        url("adjust", wallet), {"amount": "-12.5", "reason": "x", "token": uuid.uuid4()}
    )

    assert "2.50 is missing" in answer.content.decode()
    assert balance(wallet) == 10


@pytest.mark.parametrize(
    ("permission", "allowed"), [("top_up_account", "top_up"), ("adjust_account", "adjust")]
)
def test_each_movement_of_money_has_a_permission_of_its_own(
    client: Client, wallet: Account, permission: str, allowed: str
) -> None:
    clerk = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
    clerk.user_permissions.set(
        Permission.objects.filter(codename__in=["view_account", "change_account", permission])
    )
    client.force_login(clerk)
    posts = {
        name: client.post(
            url(name, wallet), {"amount": "1", "reason": "x", "token": uuid.uuid4()}
        ).status_code
        for name in ("top_up", "adjust")
    }

    assert posts == {name: 302 if name == allowed else 403 for name in posts}
    page = client.get(url("change", wallet)).content.decode()
    assert [f"/{name}/" in page for name in ("top_up", "adjust")] == [
        name == allowed for name in ("top_up", "adjust")
    ]


def test_freezing_a_wallet_writes_nothing_but_the_reason(
    owner: Client, wallet: Account, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Account.save

    def save_after_a_payment(self: Account, **options: object) -> None:
        monkeypatch.undo()
        top_up(user=customer, amount=Decimal(1))  # between the reading of the form and its saving
        save(self, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Account, "save", save_after_a_payment)
    owner.post(url("change", wallet), {"frozen_reason": "looks odd"})

    wallet.refresh_from_db()
    assert (wallet.frozen_reason, wallet.balance) == ("looks odd", 11)


def test_a_wallet_page_can_change_neither_owner_nor_balance(
    owner: Client, wallet: Account, customer: User, staff: User
) -> None:
    owner.post(url("change", wallet), {"frozen_reason": "", "user": staff.pk, "balance": "1000"})

    wallet.refresh_from_db()
    assert (wallet.user, wallet.balance) == (customer, 10)


def test_a_wallet_is_found_by_e_mail_and_shows_its_ledger(owner: Client, wallet: Account) -> None:
    found = owner.get(reverse("admin:wallet_account_changelist"), {"q": "customer@"})
    page = owner.get(url("change", wallet)).content.decode()

    assert list(found.context["cl"].queryset) == [wallet]
    assert "Last transactions" in page
    assert "Top-up" in page


def test_a_customer_without_wallet_can_be_given_one(owner: Client, db: None) -> None:
    newcomer = User.objects.create_user("new@example.com")

    owner.post(reverse("admin:wallet_account_add"), {"user": newcomer.pk})

    assert Account.objects.get(user=newcomer).balance == 0


def test_the_ledger_can_only_be_looked_at(owner: Client, wallet: Account) -> None:
    entry = wallet.entries.get()
    change = reverse("admin:wallet_entry_change", args=[entry.pk])

    assert owner.post(change, {"amount": "99", "note": "x"}).status_code == 403
    assert owner.get(reverse("admin:wallet_entry_add")).status_code == 403
    assert owner.get(reverse("admin:wallet_entry_delete", args=[entry.pk])).status_code == 403
    entry.refresh_from_db()
    assert (entry.amount, entry.note) == (10, "")
