"""What is asked about next: a narrow row for each order that is followed, apart from its wide one."""

from typing import ClassVar

from django.db import models

from catalog.models import Provider


class PollQuerySet(models.QuerySet["Poll"]):
    """What is asked about polls."""

    def free(self) -> "PollQuerySet":
        """Those that nobody is at, locked until the transaction ends: whoever takes several rows
        waits for none of them."""
        return self.select_for_update(skip_locked=True, no_key=True)


class Poll(models.Model):
    """When an order's provider is asked about it next. Exactly the orders that are followed have one.

    `orders.polls` writes it when an order is accepted, and removes it when the order ends.
    """

    order = models.OneToOneField(
        "orders.Order", models.CASCADE, primary_key=True, related_name="poll"
    )
    # The order's own, here so that one index finds what is due. Found by that index.
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="+", db_index=False)
    due_at = models.DateTimeField()
    asked_at = models.DateTimeField(null=True)

    objects: ClassVar[PollQuerySet] = PollQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        # Each poll writes every index of its row anew: this one and the key are all it has.
        indexes = [models.Index(fields=["provider", "due_at", "order"], name="poll_due")]

    def __str__(self) -> str:
        return f"{self.order_id}"
