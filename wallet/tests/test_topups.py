"""Top-ups by hand: filed by customers, decided by staff, credited once."""

import uuid
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Mail, User
from orders.tests.races import at_once
from wallet.errors import AlreadyDecided, InvalidAmount, OwnRequest, TooManyRequests
from wallet.models import Account, Entry, TopUpMethod, TopUpRequest
from wallet.proofs import image_type
from wallet.topups import approve, credit_for, file_request, forget_orphans, refuse

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


@pytest.fixture(autouse=True)
def _folder(settings: Settings, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path


@pytest.fixture
def method(db: None) -> TopUpMethod:
    return TopUpMethod.objects.create(
        name="Bank", instructions="Pay to DE00 1234.", min_amount=5, max_amount=500
    )


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


def filed(customer: User, method: TopUpMethod, amount: str = "20") -> TopUpRequest:
    return file_request(
        user=customer,
        method=method,
        amount=Decimal(amount),
        reference="tr-17",
        client_token=uuid.uuid4(),
    )


def balance(user: User) -> Decimal:
    return Decimal(Account.objects.get(user=user).balance)


def content(answer: Any) -> bytes:
    """What was streamed; the file is closed without ending the test's connection."""
    streamed = b"".join(answer.streaming_content)
    for close in answer._resource_closers:
        close()
    return streamed


def send(client: Client, **fields: object) -> str:
    values = {"amount": "20", "reference": "tr-17", "token": str(uuid.uuid4()), **fields}
    return client.post("/wallet/add/", values, follow=True).content.decode()


@pytest.mark.parametrize(
    ("amount", "percent", "credit"),
    [("20", "0", "20"), ("20", "5", "21"), ("20", "-2.5", "19.5"), ("0.01", "-33.333", "0.00666")],
)
def test_a_bonus_is_added_and_a_fee_is_kept(amount: str, percent: str, credit: str) -> None:
    assert credit_for(Decimal(amount), Decimal(percent)) == Decimal(credit)


def test_a_payment_is_filed_and_credited_when_staff_find_it(
    signed_in: Client, customer: User, staff: User, method: TopUpMethod
) -> None:
    assert "DE00 1234" in signed_in.get("/wallet/add/").content.decode()

    assert "being checked" in send(signed_in)
    assert balance(customer) == 10
    asked = TopUpRequest.objects.get()
    entry = approve(request_id=asked.pk, actor=staff)

    assert (entry.amount, entry.actor) == (20, staff)
    assert balance(customer) == 30
    assert "credited" in signed_in.get("/wallet/").content.decode()


def test_a_form_sent_twice_is_one_request(signed_in: Client, method: TopUpMethod) -> None:
    token = str(uuid.uuid4())

    send(signed_in, token=token)
    send(signed_in, token=token)

    assert TopUpRequest.objects.count() == 1


@pytest.mark.parametrize("amount", ["4.99", "500.01", "-5", "x", "NaN", "Infinity", "5.001", ""])
def test_an_amount_outside_of_the_limits_is_refused(
    signed_in: Client, method: TopUpMethod, amount: str
) -> None:
    page = send(signed_in, amount=amount)

    assert 'aria-invalid="true"' in page
    assert "tr-17" in page, "what was typed is kept"
    assert not TopUpRequest.objects.exists()


def test_the_service_keeps_the_limits_too(customer: User, method: TopUpMethod) -> None:
    with pytest.raises(InvalidAmount):
        filed(customer, method, "4.99")


def test_a_bonus_makes_no_more_than_can_be_stored(
    signed_in: Client, customer: User, method: TopUpMethod
) -> None:
    TopUpMethod.objects.update(max_amount=999_999_999, percent=100)
    method.refresh_from_db()

    assert "be posted" in send(signed_in, amount="500000000")
    with pytest.raises(InvalidAmount):
        filed(customer, method, "500000000")
    assert not TopUpRequest.objects.exists()
    assert filed(customer, method, "499999999.50").credit == 999_999_999


def test_open_requests_are_few(signed_in: Client, customer: User, method: TopUpMethod) -> None:
    for _ in range(5):
        filed(customer, method)

    with pytest.raises(TooManyRequests):
        filed(customer, method)
    assert "still checking" in send(signed_in)


def test_a_token_that_is_none_asks_to_send_again(signed_in: Client, method: TopUpMethod) -> None:
    assert "send the form again" in send(signed_in, token="x")


def test_without_methods_the_wallet_shows_the_operators_text(
    signed_in: Client, settings: Settings
) -> None:
    settings.TOP_UP_INSTRUCTIONS = "Write to us."

    assert signed_in.get("/wallet/add/")["Location"] == "/wallet/"
    assert "Write to us." in signed_in.get("/wallet/").content.decode()


def test_a_method_that_is_not_offered_takes_nothing(signed_in: Client, method: TopUpMethod) -> None:
    hidden = TopUpMethod.objects.create(name="Old", instructions="x", is_offered=False)

    send(signed_in, method=hidden.pk)

    assert TopUpRequest.objects.get().method == method


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"<svg xmlns=", ""),
        (b"%PDF-1.7", ""),
        (b"GIF89a", ""),
        (b"", ""),
    ],
)
def test_a_picture_is_known_by_its_content(head: bytes, kind: str) -> None:
    assert image_type(head) == kind


def test_a_proof_is_kept_apart_and_served_to_owner_and_staff_alone(
    signed_in: Client, method: TopUpMethod, staff: User, tmp_path: Path
) -> None:
    send(signed_in, proof=SimpleUploadedFile("../../evil.html", PNG, "text/html"))
    asked = TopUpRequest.objects.get()
    address = f"/wallet/proofs/{asked.pk}/"

    stored = list((tmp_path / "proofs").iterdir())
    assert [each.suffix for each in stored] == [".png"]
    assert stored[0].stat().st_mode & 0o777 == 0o600
    answer = signed_in.get(address)
    assert content(answer) == PNG
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    stranger, helper = Client(), Client()
    stranger.force_login(User.objects.create_user("other@example.com"))
    helper.force_login(staff)
    assert stranger.get(address).status_code == 404
    assert Client().get(address).status_code == 302
    assert content(helper.get(address)) == PNG


def test_receipts_of_others_are_for_staff_whom_the_admin_would_let_in(
    client: Client, customer: User, method: TopUpMethod, settings: Settings
) -> None:
    client.force_login(customer)
    send(client, proof=SimpleUploadedFile("receipt.png", PNG, "image/png"))
    address = f"/wallet/proofs/{TopUpRequest.objects.get().pk}/"
    helper = User.objects.create_user("helper@example.com", is_staff=True)
    helper.user_permissions.add(Permission.objects.get(codename="view_topuprequest"))
    client.force_login(helper)
    assert content(client.get(address)) == PNG

    settings.REQUIRE_STAFF_2FA = True
    assert client.get(address).status_code == 404
    Authenticator.objects.create(user=helper, type=Authenticator.Type.TOTP, data={"secret": "x"})
    assert content(client.get(address)) == PNG

    User.objects.filter(pk=helper.pk).update(is_staff=False)
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"<script>alert(1)</script>", "PNG, JPEG or WebP"), (PNG + b"\0" * 5_300_000, "5 MB")],
)
def test_what_is_no_small_picture_is_refused(
    signed_in: Client, method: TopUpMethod, content: bytes, said: str
) -> None:
    page = send(signed_in, proof=SimpleUploadedFile("receipt.png", content, "image/png"))

    assert said in page
    assert not TopUpRequest.objects.exists()


def test_a_proof_whose_file_is_gone_is_not_found(
    signed_in: Client, method: TopUpMethod, tmp_path: Path
) -> None:
    send(signed_in, proof=SimpleUploadedFile("a.png", PNG))
    next((tmp_path / "proofs").iterdir()).unlink()

    assert signed_in.get(f"/wallet/proofs/{TopUpRequest.objects.get().pk}/").status_code == 404


def test_nothing_is_decided_twice(customer: User, staff: User, method: TopUpMethod) -> None:
    asked = filed(customer, method)
    approve(request_id=asked.pk, actor=staff)

    with pytest.raises(AlreadyDecided):
        approve(request_id=asked.pk, actor=staff)
    with pytest.raises(AlreadyDecided):
        refuse(request_id=asked.pk, actor=staff, reason="x")

    assert balance(customer) == 30


def test_nobody_decides_about_their_own(staff: User, method: TopUpMethod) -> None:
    asked = filed(staff, method)

    with pytest.raises(OwnRequest):
        approve(request_id=asked.pk, actor=staff)
    with pytest.raises(OwnRequest):
        refuse(request_id=asked.pk, actor=staff, reason="x")

    assert balance(staff) == 0


def test_a_refusal_tells_its_reason(
    signed_in: Client, customer: User, staff: User, method: TopUpMethod
) -> None:
    asked = filed(customer, method)

    refuse(request_id=asked.pk, actor=staff, reason="No such payment")

    assert balance(customer) == 10
    assert "No such payment" in signed_in.get("/wallet/").content.decode()
    assert Mail.objects.get(kind="top_up").values["reason"] == "No such payment"


def test_the_dialog_credits_once_however_often_it_is_pressed(
    owner: Client, customer: User, method: TopUpMethod
) -> None:
    asked = filed(customer, method)
    address = reverse("admin:wallet_topuprequest_approve", args=[asked.pk])
    assert "tr-17" in owner.get(address).content.decode()

    pages = [owner.post(address, {"token": uuid.uuid4()}) for _ in range(3)]

    assert [page.status_code for page in pages] == [302, 200, 200]
    assert "already decided" in pages[1].content.decode()
    assert balance(customer) == 30


def test_the_dialog_warns_of_a_reference_that_was_used_before(
    owner: Client, customer: User, method: TopUpMethod
) -> None:
    first, second = filed(customer, method), filed(customer, method)

    page = owner.get(reverse("admin:wallet_topuprequest_approve", args=[second.pk]))

    assert f"#{first.pk} (being checked)" in page.content.decode()


def test_refusing_needs_a_reason_and_own_requests_are_kept_from_staff(
    owner: Client, customer: User, staff: User, method: TopUpMethod
) -> None:
    asked, own = filed(customer, method), filed(staff, method)
    address = reverse("admin:wallet_topuprequest_refuse", args=[asked.pk])

    assert owner.post(address, {"token": uuid.uuid4()}).context["form"].errors["reason"]
    owner.post(address, {"token": uuid.uuid4(), "reason": "none found"})
    page = owner.post(
        reverse("admin:wallet_topuprequest_approve", args=[own.pk]), {"token": uuid.uuid4()}
    )

    asked.refresh_from_db()
    assert (asked.state, asked.reason, asked.decided_by) == ("refused", "none found", staff)
    assert "their own" in page.content.decode()
    assert balance(staff) == 0


def test_staff_without_the_right_decide_nothing(
    client: Client, customer: User, method: TopUpMethod
) -> None:
    client.force_login(User.objects.create_user("helper@example.com", is_staff=True))
    asked = filed(customer, method)

    answer = client.post(
        reverse("admin:wallet_topuprequest_approve", args=[asked.pk]), {"token": uuid.uuid4()}
    )

    assert answer.status_code == 403
    assert balance(customer) == 10


@pytest.mark.parametrize("name", ["topuprequest", "topupmethod"])
def test_the_admins_lists_and_pages_open(
    owner: Client, customer: User, method: TopUpMethod, name: str
) -> None:
    asked = filed(customer, method)
    pk = asked.pk if name == "topuprequest" else method.pk

    assert owner.get(reverse(f"admin:wallet_{name}_changelist")).status_code == 200
    assert owner.get(reverse(f"admin:wallet_{name}_change", args=[pk])).status_code == 200


def test_the_database_refuses_a_decision_by_nobody(customer: User, method: TopUpMethod) -> None:
    asked = filed(customer, method)

    with pytest.raises(IntegrityError), transaction.atomic():
        TopUpRequest.objects.filter(pk=asked.pk).update(state="approved")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_members_of_staff_at_once_credit_once(
    customer: User, staff: User, method: TopUpMethod
) -> None:
    asked = filed(customer, method)

    results = at_once([partial(approve, request_id=asked.pk, actor=staff)] * 6)

    assert sum(isinstance(found, Entry) for found in results) == 1
    assert sum(isinstance(found, AlreadyDecided) for found in results) == 5
    assert balance(customer) == 30


def test_pictures_that_no_request_has_are_deleted_after_a_day(
    customer: User, method: TopUpMethod, tmp_path: Path
) -> None:
    kept = file_request(
        user=customer, method=method, amount=Decimal(20), reference="x", client_token=uuid.uuid4(),
        proof=SimpleUploadedFile("r.png", PNG),
    )  # fmt: skip
    folder = tmp_path / "proofs"
    (folder / "orphan.png").write_bytes(PNG)
    now = timezone.now()

    assert forget_orphans(now) == 0
    assert forget_orphans(now + timedelta(days=2)) == 1

    assert [each.name for each in folder.iterdir()] == [kept.proof.name]
