"""A customer's program that calls API v2 through Django's test client."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts.keys import create_key
from accounts.models import User
from orders.models import Order
from orders.money import lock_order, refund_order
from orders.states import FINAL, Dispatch, Status

URL = "/api/v2"


@dataclass
class Program:
    """Calls with one key; every answer is read as JSON."""

    user: User
    secret: str = field(default="", repr=False)
    client: Client = field(default_factory=Client)

    def __post_init__(self) -> None:
        self.secret = self.secret or create_key(user=self.user, name="program").secret

    def __call__(self, action: str, **fields: Any) -> Any:
        form = {"key": self.secret, "action": action, **fields}
        response = self.client.post(URL, form)
        assert response.status_code == 200, response.content
        return response.json()

    def add(self, service: object, **fields: Any) -> Any:
        given = {"link": "https://example.com/p", "quantity": "100"}
        return self("add", service=str(service), **(given | fields))

    def order(self, service: object, **fields: Any) -> Order:
        answer = self.add(service, **fields)
        assert set(answer) == {"order"}, answer
        return Order.objects.get(pk=answer["order"])


def at_provider(order: Order, status: Status, **facts: object) -> Order:
    """What forwarding and following write, without a provider."""
    values: dict[str, object] = {
        "status": status,
        "dispatch": Dispatch.ACCEPTED,
        "upstream_id": f"u{order.pk}",
    }
    if status in FINAL:
        values["finished_at"] = timezone.now()
    Order.objects.filter(pk=order.pk).update(**(values | facts))
    order.refresh_from_db()
    return order


def give_back(order: Order, amount: str) -> None:
    with transaction.atomic():
        refund_order(lock_order(order.pk), amount=Decimal(amount), reference=f"test-{order.pk}")
