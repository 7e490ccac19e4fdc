"""Every rule that the database keeps: a row that breaks it is refused, and by this rule alone.

Each constraint of our models has a write here that breaks it. With the constraint in place the
write fails; on PostgreSQL it is also seen to go through once the constraint is dropped, so no case
passes for another reason.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from accounts.models import ApiKey, Mail, User
from catalog.models import (
    BulkChange,
    CustomerGroup,
    CustomerPrice,
    ErrorRule,
    Favourite,
    HeldChange,
    LinkRule,
    Provider,
    Service,
    SiteRules,
)
from orders.models import (
    ApiAdd,
    Attempt,
    DailySales,
    Order,
    ProviderDay,
    Request,
    StrayOrder,
)
from orders.run_models import BulkRow, BulkRun
from orders.states import Dispatch, Outcome, RequestState, Status
from panel.models import Alert
from wallet.models import Account, Approval, Ceiling, Entry, TopUpMethod, TopUpRequest
from wallet.money import LIMIT, STEP

OURS = {"accounts", "wallet", "catalog", "orders", "panel"}


@dataclass(frozen=True)
class World:
    """Somebody with money, somebody of the staff, a service; more is made when it is asked for."""

    customer: User
    staff: User
    service: Service

    @cached_property
    def account(self) -> Account:
        return Account.objects.get(user=self.customer)

    @cached_property
    def order(self) -> Order:
        return self.new_order()

    @cached_property
    def method(self) -> TopUpMethod:
        return TopUpMethod.objects.create(name="Bank", instructions="Pay.")

    @cached_property
    def run(self) -> BulkRun:
        return BulkRun.objects.create(action=BulkRun.Action.CHECK, started_by=self.staff)

    def new_order(self, **fields: object) -> Order:
        agreed = {
            "order_type": "default", "quantity": 100, "price_rate": 2, "charge": 1, "cost": 1,
            "exchange_rate": 1, "expected_charge": 1,
        }  # fmt: skip
        return Order.objects.create(
            customer=self.customer,
            service=self.service,
            provider=self.service.provider,
            **(agreed | fields),
        )

    def change_order(self, **fields: object) -> None:
        Order.objects.filter(pk=self.order.pk).update(**fields)

    def attempt(self, number: int = 1, **fields: object) -> Attempt:
        return Attempt.objects.create(order=self.order, number=number, **fields)

    def request(self, **fields: object) -> Request:
        return Request.objects.create(
            order=self.order, provider=self.service.provider, kind=Request.Kind.REFILL, **fields
        )

    def entry(self, **fields: object) -> Entry:
        plain = {
            "kind": Entry.Kind.ADJUSTMENT, "amount": 1, "balance_after": 1,
            "reference": f"test-{uuid.uuid4()}",
        }  # fmt: skip
        return Entry.objects.create(account=self.account, **(plain | fields))

    def top_up(self, **fields: object) -> TopUpRequest:
        plain = {"amount": 1, "credit": 1, "reference": "R", "client_token": uuid.uuid4()}
        return TopUpRequest.objects.create(
            account=self.account, method=self.method, **(plain | fields)
        )

    def approval(self, **fields: object) -> Approval:
        plain = {"kind": Approval.Kind.REFUND, "amount": 1, "requested_by": self.staff}
        return Approval.objects.create(account=self.account, **(plain | fields))

    def change_account(self, balance: Decimal) -> None:
        Account.objects.filter(pk=self.account.pk).update(balance=balance)

    def change_service(self, **fields: object) -> None:
        Service.objects.filter(pk=self.service.pk).update(**fields)

    def twice(self, model: type[models.Model], **fields: object) -> None:
        for _ in range(2):
            model._default_manager.create(**fields)


@pytest.fixture
def world(customer: User, staff: User, service: Service) -> World:
    return World(customer, staff, service)


def _same_mailbox(world: World) -> None:
    User.objects.create(email=world.customer.email.upper())


def _form_sent_twice(world: World) -> None:
    token = uuid.uuid4()
    world.new_order(client_token=token)
    world.new_order(client_token=token)


def _one_upstream_id_for_two(world: World) -> None:
    world.new_order(upstream_id="77")
    world.new_order(upstream_id="77")


def _charged_twice(world: World) -> None:
    for _ in range(2):
        world.entry(kind=Entry.Kind.CHARGE, amount=-1, order_number=world.order.pk)


def _paid_twice(world: World) -> None:
    for _ in range(2):
        world.entry(reference="one-and-the-same")


def _topped_up_by_one_form_twice(world: World) -> None:
    token = uuid.uuid4()
    world.top_up(client_token=token)
    world.top_up(client_token=token)


def _two_approvals_of_one_request(world: World) -> None:
    request = world.top_up()
    world.approval(kind=Approval.Kind.TOP_UP, top_up_request=request)
    world.approval(kind=Approval.Kind.TOP_UP, top_up_request=request)


def _decided_by_the_one_who_asked(world: World) -> None:
    world.approval(state=Approval.State.APPROVED, decided_by=world.staff, decided_at=timezone.now())


def _known_twice(world: World) -> None:
    Service.objects.create(
        provider=world.service.provider,
        category=world.service.category,
        upstream_id=world.service.upstream_id,
        refusal="no",
    )


def _two_attempts_out(world: World) -> None:
    world.attempt(1, outcome=Outcome.UNKNOWN)
    world.attempt(2, outcome=Outcome.SENDING)


def _one_request_id_twice(world: World) -> None:
    key = ApiKey.objects.create(user=world.customer)
    for order in (world.order, world.new_order()):
        ApiAdd.objects.create(
            customer=world.customer, key=key, request_id="r-1", content="c", order=order
        )


def _undone_before_done(world: World) -> None:
    BulkChange.objects.create(title="t", actor=world.staff, undone_at=timezone.now())


def _two_held_changes(world: World) -> None:
    world.twice(HeldChange, service=world.service, reasons=[], fields={})


def _day_of_sales(world: World) -> None:
    amounts = {"orders": 1, "revenue": 1, "refunds": 0, "cost": 1}
    world.twice(DailySales, day=timezone.now().date(), part=DailySales.Part.SITE, **amounts)


def _day_of_provider(world: World) -> None:
    amounts = {"booked": 1, "given_back": 0, "overcharged": 0}
    world.twice(ProviderDay, provider=world.service.provider, day=timezone.now().date(), **amounts)


def _alert_open_twice(world: World) -> None:
    now = timezone.now()
    world.twice(Alert, key="k", text="t", began_at=now, seen_at=now)


# By constraint: the writes that break it, and no other rule.
BREAKS: dict[str, list[Callable[[World], object]]] = {
    "user_email_unique_any_case": [_same_mailbox],
    "mail_goes_to_somebody": [lambda _: Mail.objects.create(kind="k")],
    "account_balance_not_negative": [lambda world: world.change_account(Decimal("-0.000001"))],
    "account_balance_storable": [lambda world: world.change_account(LIMIT + STEP)],
    "entry_written_once": [_paid_twice],
    "entry_one_charge_per_order": [_charged_twice],
    "entry_amount_not_zero": [lambda world: world.entry(amount=0)],
    "entry_balance_after_not_negative": [lambda world: world.entry(balance_after=-1)],
    "entry_sign_fits_kind": [
        lambda world: world.entry(kind=Entry.Kind.CHARGE, amount=1, order_number=1),
        lambda world: world.entry(kind=Entry.Kind.REFUND, amount=-1, order_number=1),
        lambda world: world.entry(kind=Entry.Kind.STAFF_REFUND, amount=-1, order_number=1),
        lambda world: world.entry(kind=Entry.Kind.TOP_UP, amount=-1),
        lambda world: world.entry(kind="gift"),
    ],
    "entry_of_order_names_it": [
        lambda world: world.entry(kind=Entry.Kind.CHARGE, amount=-1),
        lambda world: world.entry(kind=Entry.Kind.REFUND, amount=1),
        lambda world: world.entry(kind=Entry.Kind.STAFF_REFUND, amount=1),
    ],
    "top_up_method_limits": [
        lambda _: TopUpMethod.objects.create(name="m", min_amount=0),
        lambda _: TopUpMethod.objects.create(name="m", min_amount=2, max_amount=1),
    ],
    "top_up_method_percent": [
        lambda _: TopUpMethod.objects.create(name="m", percent=-100),
        lambda _: TopUpMethod.objects.create(name="m", percent=101),
    ],
    "top_up_request_sent_once": [_topped_up_by_one_form_twice],
    "top_up_request_positive": [
        lambda world: world.top_up(amount=0),
        lambda world: world.top_up(credit=0),
    ],
    "top_up_request_decided_by_someone": [
        lambda world: world.top_up(state=TopUpRequest.State.APPROVED, decided_at=timezone.now()),
        lambda world: world.top_up(state=TopUpRequest.State.REFUSED, decided_by=world.staff),
        lambda world: world.top_up(decided_at=timezone.now()),
    ],
    "ceiling_not_negative": [
        lambda _: Ceiling.objects.create(group=Group.objects.create(name="g"), refund=-1),
        lambda _: Ceiling.objects.create(group=Group.objects.create(name="g"), top_up=-1),
    ],
    "approval_amount_positive": [lambda world: world.approval(amount=0)],
    "approval_by_a_second_person": [_decided_by_the_one_who_asked],
    "approval_one_open_per_request": [_two_approvals_of_one_request],
    "approval_decided_has_time": [
        lambda world: world.approval(state=Approval.State.APPROVED, decided_by=world.customer),
        lambda world: world.approval(decided_at=timezone.now()),
        lambda world: world.approval(decided_by=world.customer),
    ],
    "site_rules_one_row": [lambda _: SiteRules.objects.create(pk=2)],
    "provider_rate_positive": [
        lambda _: Provider.objects.create(name="p", url="https://p.example", exchange_rate=0)
    ],
    "error_rule_one_meaning": [
        lambda world: world.twice(ErrorRule, provider=world.service.provider, text="no funds")
    ],
    "service_known_once": [_known_twice],
    "service_rates_not_negative": [
        lambda world: world.change_service(refusal="no", cost_rate=-1),
        lambda world: world.change_service(refusal="no", price_rate=-1),
    ],
    "service_usable_has_price_and_limits": [
        lambda world: world.change_service(price_rate=0),
        lambda world: world.change_service(cost_rate=0),
        lambda world: world.change_service(min_quantity=2, max_quantity=1),
    ],
    "favourite_kept_once": [
        lambda world: world.twice(Favourite, user=world.customer, service=world.service)
    ],
    "bulk_change_applied_before_undone": [_undone_before_done],
    "held_change_one_open": [_two_held_changes],
    "customer_group_discount_is_part": [
        lambda _: CustomerGroup.objects.create(name="g", discount_percent=100),
        lambda _: CustomerGroup.objects.create(name="g", discount_percent=-1),
    ],
    "customer_price_once_per_service": [
        lambda world: world.twice(
            CustomerPrice, customer=world.customer, service=world.service, rate=1
        )
    ],
    "customer_price_positive": [
        lambda world: CustomerPrice.objects.create(
            customer=world.customer, service=world.service, rate=0
        )
    ],
    "link_rule_once": [
        lambda world: world.twice(LinkRule, kind=LinkRule.Kind.HOST, text="example.com")
    ],
    "bulk_row_once_per_order": [
        lambda world: world.twice(BulkRow, run=world.run, order=world.order)
    ],
    "bulk_row_done_has_time": [
        lambda world: BulkRow.objects.create(
            run=world.run, order=world.order, state=BulkRow.State.DONE
        ),
        lambda world: BulkRow.objects.create(
            run=world.run, order=world.order, done_at=timezone.now()
        ),
    ],
    "order_form_sent_once": [_form_sent_twice],
    "order_upstream_id_once": [_one_upstream_id_for_two],
    "order_accepted_has_upstream_id": [
        lambda world: world.change_order(dispatch=Dispatch.ACCEPTED)
    ],
    "order_charge_positive": [
        lambda world: world.change_order(charge=0),
    ],
    "order_refunded_within_charge": [
        lambda world: world.change_order(refunded=2),
        lambda world: world.change_order(refunded=-1),
    ],
    "order_quantity_positive": [lambda world: world.change_order(quantity=0)],
    "order_cost_not_negative": [
        lambda world: world.change_order(cost=-1),
        lambda world: world.change_order(expected_charge=-1),
        lambda world: world.change_order(exchange_rate=0),
    ],
    "order_unsent_is_canceled": [
        lambda world: world.change_order(dispatch=Dispatch.REJECTED),
        lambda world: world.change_order(dispatch=Dispatch.WITHDRAWN),
    ],
    "order_canceled_is_refunded": [
        lambda world: world.change_order(status=Status.CANCELED, finished_at=timezone.now())
    ],
    "order_leased_has_lease": [
        lambda world: world.change_order(dispatch=Dispatch.CLAIMED),
        lambda world: world.change_order(dispatch=Dispatch.SENDING),
    ],
    "order_final_has_finish": [
        lambda world: world.change_order(status=Status.COMPLETED),
        lambda world: world.change_order(finished_at=timezone.now()),
    ],
    "attempt_number_once": [lambda world: (world.attempt(), world.attempt(outcome="not_sent"))],
    "attempt_one_may_have_reached": [_two_attempts_out],
    "attempt_accepted_has_upstream_id": [lambda world: world.attempt(outcome=Outcome.ACCEPTED)],
    "request_one_open_per_order": [lambda world: (world.request(), world.request())],
    "request_sending_has_lease": [lambda world: world.request(state=RequestState.SENDING)],
    "request_ended_has_finish": [
        lambda world: world.request(state=RequestState.COMPLETED),
        lambda world: world.request(state=RequestState.REJECTED),
        lambda world: world.request(finished_at=timezone.now()),
    ],
    "stray_order_once": [
        lambda world: world.twice(
            StrayOrder, provider=world.service.provider, upstream_id="7", found_at=timezone.now()
        )
    ],
    "daily_sales_once": [_day_of_sales],
    "api_add_request_id_once": [_one_request_id_twice],
    "provider_day_once": [_day_of_provider],
    "alert_open_once": [_alert_open_twice],
}


def _constraints() -> dict[str, tuple[type[models.Model], models.BaseConstraint]]:
    return {
        constraint.name: (model, constraint)
        for model in apps.get_models()
        if model._meta.app_label in OURS
        for constraint in model._meta.constraints
    }


CASES = [
    pytest.param(name, write, id=f"{name}-{number}")
    for name, writes in BREAKS.items()
    for number, write in enumerate(writes, 1)
]


def test_each_constraint_is_broken_here() -> None:
    assert set(BREAKS) == set(_constraints())


@pytest.mark.django_db
def test_every_rule_and_index_that_is_declared_is_in_the_database() -> None:
    """A migration that alters a column may take away what stands on it, and say nothing."""
    missing = []
    with connection.cursor() as cursor:
        for model in apps.get_models():
            meta = model._meta
            declared = {each.name for each in (*meta.constraints, *meta.indexes)}
            if meta.app_label in OURS and declared:
                found = connection.introspection.get_constraints(cursor, meta.db_table)
                missing += sorted(declared - found.keys())

    assert missing == []


@pytest.mark.parametrize(("name", "write"), CASES)
def test_the_database_refuses_what_breaks_a_rule(
    world: World, name: str, write: Callable[[World], object]
) -> None:
    constraint = _constraints()[name][1]
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        write(world)
    # SQLite names the columns of most unique constraints, and not the constraint.
    if connection.vendor == "postgresql" or isinstance(constraint, models.CheckConstraint):
        assert name in str(refused.value)


@pytest.mark.postgres
@pytest.mark.parametrize(("name", "write"), CASES)
def test_without_the_rule_it_would_be_stored(
    world: World, name: str, write: Callable[[World], object]
) -> None:
    model, constraint = _constraints()[name]
    with connection.cursor() as cursor:
        # What the fixtures wrote still waits for its foreign keys to be checked.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with connection.schema_editor() as editor:
        editor.remove_constraint(model, constraint)
    write(world)
