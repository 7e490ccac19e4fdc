import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.encryption import EncryptedTextField
from catalog.models import Provider, Service
from orders.poll_models import Poll  # noqa: F401 - Django looks for models here
from orders.run_models import BulkRow, BulkRun  # noqa: F401 - Django looks for models here
from orders.states import (
    FINAL,
    LEASED,
    MAY_HAVE_REACHED,
    OPEN,
    REQUEST_OPEN,
    UNDECIDED,
    Dispatch,
    Outcome,
    RequestState,
    Status,
)
from wallet.money import MoneyField, RateField


class OrderQuerySet(models.QuerySet["Order"]):
    def open(self) -> "OrderQuerySet":
        """Not finished: the customer is still waiting."""
        return self.filter(status__in=OPEN)

    def of(self, user_id: int) -> "OrderQuerySet":
        """One customer's orders; every customer query starts here."""
        return self.filter(customer_id=user_id)


class Order(models.Model):
    """One purchase. What was agreed (service, quantity, charge, cost) is fixed when it is placed."""

    class Source(models.TextChoices):
        WEB = "web", _("web")
        API = "api", _("API")
        STAFF = "staff", _("staff")
        PROVIDER = "provider", _("provider")  # a child that the provider made

    # Found by the indexes below that begin with it.
    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="orders",
        db_index=False,
        verbose_name=_("customer"),
    )
    service = models.ForeignKey(
        Service, models.PROTECT, related_name="orders", verbose_name=_("service")
    )
    provider = models.ForeignKey(
        Provider, models.PROTECT, related_name="orders", verbose_name=_("provider")
    )
    parent = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="children",
        db_index=False,
        verbose_name=_("part of"),
    )
    source = models.CharField(
        _("source"), max_length=8, choices=Source.choices, default=Source.WEB, editable=False
    )
    # Made by the page that drew the form: a form sent twice is one order.
    client_token = models.UUIDField(default=uuid.uuid4, editable=False)

    order_type = models.CharField(_("type"), max_length=40)
    link = models.CharField(_("link"), max_length=1000, blank=True)
    # Exactly the parameters of `add` besides key, action and service.
    parameters = models.JSONField(_("parameters"), default=dict)
    # What price and refunds are reckoned by: units over all runs; 1 for a package.
    quantity = models.BigIntegerField(_("quantity"))

    price_rate = RateField(_("price per 1000"))
    # Somebody allowed its price to fall below cost, or its sending in spite of the loss.
    may_lose = models.BooleanField(_("may be a loss"), default=False, editable=False)
    charge = MoneyField(_("charge"))
    refunded = MoneyField(_("refunded"), default=0)
    # In the site's currency, by the exchange rate of the moment of sale.
    cost = MoneyField(_("cost"))
    exchange_rate = RateField(_("exchange rate"))
    # In the provider's currency: what we expect to be charged, and what it says it charged.
    expected_charge = MoneyField(_("expected provider charge"))
    upstream_charge = MoneyField(_("provider's charge"), null=True, blank=True)

    dispatch = models.CharField(
        _("dispatch"), max_length=10, choices=Dispatch.choices, default=Dispatch.QUEUED
    )
    # The fence: an update by a worker that lost its claim changes no row.
    attempt_no = models.IntegerField(_("attempts"), default=0)
    # By the database's clock: a web machine an hour ahead must not delay what it sells.
    not_before = models.DateTimeField(_("not before"), db_default=Now())
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    waiting_for = models.CharField(_("waiting for"), max_length=20, blank=True)
    upstream_id = models.CharField(_("upstream ID"), max_length=64, blank=True)

    status = models.CharField(
        _("status"), max_length=12, choices=Status.choices, default=Status.PENDING
    )
    raw_status = models.CharField(_("provider's status"), max_length=60, blank=True)
    start_count = models.BigIntegerField(_("start count"), null=True, blank=True)
    remains = models.BigIntegerField(_("remains"), null=True, blank=True)
    # Why staff should look at it; empty when nothing is wrong.
    attention = models.CharField(_("needs attention"), max_length=40, blank=True)

    created_at = models.DateTimeField(_("placed"), default=timezone.now, editable=False)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True, editable=False)

    objects: ClassVar[OrderQuerySet] = OrderQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        permissions = [
            ("refund_order", "Can refund an order"),
            ("ask_provider", "Can check, refill and cancel orders"),
            ("resolve_order", "Can settle an unconfirmed order"),
        ]
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["customer", "-id"], name="order_of_customer"),
            # Parts are on their parent's page and in no list; so a count reads the index alone.
            models.Index(
                fields=["customer", "status", "-id"],
                condition=Q(parent__isnull=True),
                name="order_of_customer_by_status",
            ),
            models.Index(
                fields=["customer", "service", "-id"], name="order_of_customer_by_service"
            ),
            models.Index(
                fields=["provider", "not_before", "id"],
                condition=Q(dispatch=Dispatch.QUEUED),
                name="order_queued",
            ),
            models.Index(
                fields=["lease_until"], condition=Q(dispatch__in=LEASED), name="order_leased"
            ),
            models.Index(
                fields=["-id"], condition=~Q(attention=""), name="order_needing_attention"
            ),
            models.Index(
                fields=["-id"], condition=Q(dispatch=Dispatch.UNKNOWN), name="order_unconfirmed"
            ),
            # All that is asked for when an order is placed, so that it is taken with no statistics too.
            models.Index(
                fields=["customer", "link", "service"],
                condition=Q(status__in=OPEN),
                name="order_open_on_link",
            ),
            models.Index(
                fields=["parent"], condition=Q(parent__isnull=False), name="order_children"
            ),
            models.Index(
                fields=["provider", "sent_at"], condition=~Q(upstream_id=""), name="order_sent"
            ),
            models.Index(
                fields=["provider", "finished_at"],
                condition=~Q(upstream_id="") & Q(finished_at__isnull=False),
                name="order_ended",
            ),
            models.Index(fields=["created_at"], name="order_by_day"),
            models.Index(
                fields=["-id"],
                condition=Q(status="completed", upstream_charge__gt=F("expected_charge")),
                name="order_charged_more",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "client_token"], name="order_form_sent_once"
            ),
            models.UniqueConstraint(
                fields=["provider", "upstream_id"],
                condition=~Q(upstream_id=""),
                name="order_upstream_id_once",
            ),
            models.CheckConstraint(
                condition=~Q(dispatch=Dispatch.ACCEPTED) | ~Q(upstream_id=""),
                name="order_accepted_has_upstream_id",
            ),
            models.CheckConstraint(
                condition=Q(charge__gt=0) | Q(dispatch=Dispatch.CHILD, charge=0),
                name="order_charge_positive",
            ),
            models.CheckConstraint(
                condition=Q(refunded__gte=0) & Q(refunded__lte=F("charge")),
                name="order_refunded_within_charge",
            ),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="order_quantity_positive"),
            models.CheckConstraint(
                condition=Q(cost__gte=0) & Q(expected_charge__gte=0) & Q(exchange_rate__gt=0),
                name="order_cost_not_negative",
            ),
            models.CheckConstraint(
                condition=~Q(dispatch__in=[Dispatch.REJECTED, Dispatch.WITHDRAWN])
                | Q(status=Status.CANCELED),
                name="order_unsent_is_canceled",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.CANCELED) | Q(refunded=F("charge")),
                name="order_canceled_is_refunded",
            ),
            models.CheckConstraint(
                condition=~Q(dispatch__in=LEASED) | Q(lease_until__isnull=False),
                name="order_leased_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(status__in=FINAL, finished_at__isnull=False)
                | Q(status__in=OPEN, finished_at__isnull=True),
                name="order_final_has_finish",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("orders:detail", args=[self.pk])

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def delivered(self) -> int:
        """Units delivered as far as the provider says, between 0 and the quantity."""
        if self.status == Status.COMPLETED:
            return self.quantity
        if self.remains is None:
            return 0
        return max(0, min(self.quantity, self.quantity - self.remains))


class ServiceTimes(models.Model):
    """How long a service typically takes, from our own completed orders; a job refreshes it."""

    service = models.OneToOneField(
        Service, models.CASCADE, related_name="times", verbose_name=_("service")
    )
    # Medians from placing to the first delivery and to the end, in seconds.
    start_seconds = models.IntegerField(_("typical start"), null=True)
    start_sample = models.IntegerField(_("orders behind it"), default=0)
    finish_seconds = models.IntegerField(_("typical completion"), null=True)
    finish_sample = models.IntegerField(_("orders behind it"), default=0)
    # From sending to the end, what 95 of 100 orders don't exceed; None when they are too few.
    delivery_p95 = models.DurationField(_("95 of 100 delivered within"), null=True)
    refreshed_at = models.DateTimeField(_("refreshed"), default=timezone.now)

    class Meta:
        verbose_name = _("typical times")
        verbose_name_plural = _("typical times")

    def __str__(self) -> str:
        return str(self.service_id)


class Attempt(models.Model):
    """One try at sending an order, with everything that is known about it."""

    # The constraint below would do as an index too; but Django takes every index of this column alone
    # away with this one, and `attempt_one_may_have_reached` is one.
    order = models.ForeignKey(
        Order, models.PROTECT, related_name="attempts", verbose_name=_("order")
    )
    number = models.IntegerField(_("number"))
    outcome = models.CharField(
        _("outcome"), max_length=10, choices=Outcome.choices, default=Outcome.CLAIMED
    )
    # upstream.errors.Kind when the provider refused it.
    kind = models.CharField(_("kind"), max_length=20, blank=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    answer = models.TextField(_("answer"), blank=True)  # cut, and the key removed
    http_status = models.IntegerField(_("HTTP status"), null=True, blank=True)
    upstream_id = models.CharField(_("upstream ID"), max_length=64, blank=True)
    is_late = models.BooleanField(_("answered late"), default=False)
    # The parameter that carried our request ID; empty when the provider has none, and then an
    # unconfirmed attempt is never repeated.
    request_param = models.CharField(_("request ID sent as"), max_length=40, blank=True)
    worker = models.CharField(_("worker"), max_length=100, blank=True)
    claimed_at = models.DateTimeField(_("claimed"), default=timezone.now)
    sending_at = models.DateTimeField(_("sending from"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["order", "number"]
        constraints = [
            models.UniqueConstraint(fields=["order", "number"], name="attempt_number_once"),
            models.UniqueConstraint(
                fields=["order"],
                condition=Q(outcome__in=MAY_HAVE_REACHED),
                name="attempt_one_may_have_reached",
            ),
            models.CheckConstraint(
                condition=~Q(outcome=Outcome.ACCEPTED) | ~Q(upstream_id=""),
                name="attempt_accepted_has_upstream_id",
            ),
        ]
        indexes = [
            models.Index(
                fields=["sending_at"],
                condition=Q(outcome__in=UNDECIDED),
                name="attempt_undecided",
            ),
            models.Index(
                fields=["upstream_id"], condition=Q(is_late=True), name="attempt_answered_late"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order_id}/{self.number}"


class Event(models.Model):
    """One line of an order's timeline: when, what, who."""

    # Found by the index below that begins with it.
    order = models.ForeignKey(
        Order, models.PROTECT, related_name="events", db_index=False, verbose_name=_("order")
    )
    at = models.DateTimeField(_("when"), default=timezone.now)
    code = models.CharField(_("what"), max_length=40)  # orders.timeline.Code
    values = models.JSONField(_("details"), default=dict)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("who"),
    )

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["pk"]
        indexes = [models.Index(fields=["order", "id"], name="event_of_order")]

    def __str__(self) -> str:
        return self.code


class Request(models.Model):
    """A refill or a cancel request: asked of the provider once, and followed until it answers."""

    class Kind(models.TextChoices):
        REFILL = "refill", _("refill")
        CANCEL = "cancel", _("cancel")

    order = models.ForeignKey(
        Order, models.PROTECT, related_name="requests", verbose_name=_("order")
    )
    provider = models.ForeignKey(
        Provider, models.PROTECT, related_name="+", verbose_name=_("provider")
    )
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    state = models.CharField(
        _("state"), max_length=10, choices=RequestState.choices, default=RequestState.QUEUED
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("by")
    )
    attempt_no = models.IntegerField(default=0, editable=False)
    not_before = models.DateTimeField(default=timezone.now, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    upstream_id = models.CharField(_("upstream ID"), max_length=64, blank=True)
    raw_status = models.CharField(_("provider's status"), max_length=60, blank=True)
    answer = models.TextField(_("answer"), blank=True)
    # Why staff approved or refused it; its customer reads it.
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    next_poll_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("requested"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("refill or cancel request")
        verbose_name_plural = _("refill and cancel requests")
        permissions = [("decide_refill", "Can approve or refuse a refill request")]
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["not_before", "id"],
                condition=Q(state=RequestState.QUEUED),
                name="request_queued",
            ),
            models.Index(
                fields=["lease_until"],
                condition=Q(state=RequestState.SENDING),
                name="request_leased",
            ),
            models.Index(
                fields=["provider", "next_poll_at"],
                condition=Q(next_poll_at__isnull=False),
                name="request_to_poll",
            ),
            models.Index(
                fields=["-id"], condition=Q(state=RequestState.ASKED), name="request_asked"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["order", "kind"],
                condition=Q(state__in=REQUEST_OPEN),
                name="request_one_open_per_order",
            ),
            # Without one, nobody would ever find out that its sender died.
            models.CheckConstraint(
                condition=~Q(state=RequestState.SENDING) | Q(lease_until__isnull=False),
                name="request_sending_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=REQUEST_OPEN, finished_at__isnull=True)
                | (~Q(state__in=REQUEST_OPEN) & Q(finished_at__isnull=False)),
                name="request_ended_has_finish",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.order_id}"


class Gate(models.Model):
    """Whether orders may be sent to a provider now; kept apart from the catalogue's row."""

    class Pause(models.TextChoices):
        FUNDS = "funds", _("our balance there is short")
        ACCOUNT = "account", _("key or account trouble")
        REDIRECT = "redirect", _("its address redirects")
        MANUAL = "manual", _("paused by staff")
        RESTORED = "restored", _("restored from a backup")

    provider = models.OneToOneField(
        Provider, models.CASCADE, related_name="gate", verbose_name=_("provider")
    )
    pause = models.CharField(_("paused because"), max_length=10, choices=Pause.choices, blank=True)
    pause_note = models.CharField(_("details"), max_length=300, blank=True)
    paused_at = models.DateTimeField(_("paused since"), null=True, blank=True)
    max_in_flight = models.IntegerField(_("orders in flight"), default=8)
    unknowns_in_row = models.IntegerField(default=0, editable=False)
    not_sent_in_row = models.IntegerField(default=0, editable=False)
    open_until = models.DateTimeField(_("breaker open until"), null=True, blank=True)
    open_seconds = models.IntegerField(default=0, editable=False)
    probe_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Our balance there at the last probe of a funds pause, in the provider's currency.
    balance_seen = MoneyField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("sending")
        verbose_name_plural = _("sending")
        permissions = [("pause_gate", "Can pause and resume sending")]

    def __str__(self) -> str:
        return str(self.provider)


class Scan(models.Model):
    """Whether and how lost answers are looked for at a provider, and what that has cost so far."""

    class Canary(models.TextChoices):
        """Whether the provider answers for our IDs and for nobody else's."""

        UNTRIED = "", _("not tried")
        PASSED = "passed", _("passed")
        FAILED = "failed", _("failed")

    provider = models.OneToOneField(
        Provider, models.CASCADE, related_name="scan", verbose_name=_("provider")
    )
    is_enabled = models.BooleanField(
        _("look for lost answers"),
        default=True,
        help_text=_("Begins once a test has shown that the provider's IDs allow it."),
    )
    calls_per_order = models.PositiveIntegerField(_("calls per order"), default=20)
    calls_per_day = models.PositiveIntegerField(_("calls per day"), default=300)
    refund_absent_hours = models.PositiveIntegerField(
        _("refund absent orders after (hours)"),
        null=True,
        blank=True,
        help_text=_("Empty: never by itself. An order is never sent again by itself."),
    )
    canary = models.CharField(
        _("test"), max_length=8, choices=Canary.choices, blank=True, editable=False
    )
    canary_at = models.DateTimeField(_("tested"), null=True, editable=False)
    canary_note = models.CharField(_("test result"), max_length=300, blank=True, editable=False)
    # How the provider refuses an ID that is not ours, normalised: any other answer stops the scan.
    foreign_text = models.CharField(max_length=300, blank=True, editable=False)
    # Why its IDs can't be trusted to grow with time; found later than the test.
    disorder = models.CharField(_("IDs out of order"), max_length=20, blank=True, editable=False)
    review_until = models.DateTimeField(
        _("review only until"),
        null=True,
        blank=True,
        help_text=_("Someone else orders on this account: nothing found is decided by itself."),
    )
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True, editable=False)
    pause_note = models.CharField(_("paused because"), max_length=300, blank=True, editable=False)
    next_call_at = models.DateTimeField(null=True, blank=True, editable=False)
    calls_on = models.DateField(null=True, blank=True, editable=False)
    calls_today = models.PositiveIntegerField(_("calls today"), default=0, editable=False)

    class Meta:
        verbose_name = _("search for lost answers")
        verbose_name_plural = _("search for lost answers")

    def __str__(self) -> str:
        return str(self.provider)


class Search(models.Model):
    """What was done to find out what became of one attempt, and what was found."""

    attempt = models.OneToOneField(
        Attempt, models.CASCADE, related_name="search", verbose_name=_("attempt")
    )
    # It comes from a backup: when it was sent, and whether, is not known.
    is_restored = models.BooleanField(_("restored from a backup"), default=False)
    calls = models.PositiveIntegerField(_("calls"), default=0)
    called_at = models.DateTimeField(null=True, blank=True, editable=False)
    verdict = models.CharField(_("finding"), max_length=10, blank=True)  # orders.matching.Verdict
    reason = models.CharField(_("reason"), max_length=20, blank=True)  # orders.matching.Reason
    low = models.BigIntegerField(_("above ID"), null=True)
    high = models.BigIntegerField(_("below ID"), null=True)
    scanned = models.BigIntegerField(_("IDs asked for"), default=0)
    total = models.BigIntegerField(_("IDs in question"), null=True)
    found = models.BigIntegerField(_("found ID"), null=True)
    candidates = models.JSONField(_("candidates"), default=list)
    # None: the balance can't tell.
    balance_says_placed = models.BooleanField(_("balance says placed"), null=True)
    balance_spent = MoneyField(_("unexplained spending"), null=True)
    decided_at = models.DateTimeField(_("found"), null=True)
    updated_at = models.DateTimeField(_("looked at"), auto_now=True)

    class Meta:
        verbose_name = _("search for a lost answer")
        verbose_name_plural = _("searches for lost answers")

    def __str__(self) -> str:
        return str(self.attempt)


class StrayOrder(models.Model):
    """An ID at a provider that answers as ours and that no order here has: a candidate."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="stray_orders", verbose_name=_("provider")
    )
    upstream_id = models.CharField(_("upstream ID"), max_length=64)
    charge = MoneyField(_("provider's charge"), null=True)
    raw_status = models.CharField(_("provider's status"), max_length=60, blank=True)
    is_reduced = models.BooleanField(default=False, editable=False)
    is_container = models.BooleanField(default=False, editable=False)
    # IDs of the part orders that it lists.
    parts = models.JSONField(default=list, editable=False)
    is_foreign = models.BooleanField(_("not ours"), default=False)
    found_at = models.DateTimeField(_("found"))

    class Meta:
        verbose_name = _("stray order")
        verbose_name_plural = _("stray orders")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "upstream_id"], name="stray_order_once"),
        ]

    def __str__(self) -> str:
        return self.upstream_id


class ScannedSpan(models.Model):
    """A range of a provider's IDs that was asked for; what answered as ours is a StrayOrder."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="scanned_spans", verbose_name=_("provider")
    )
    low = models.BigIntegerField(_("from ID"))
    high = models.BigIntegerField(_("to ID"))
    # Whether a later ID of ours existed: only then a silent ID proves anything.
    is_settled = models.BooleanField(default=True)
    at = models.DateTimeField(_("when"))

    class Meta:
        verbose_name = _("scanned range")
        verbose_name_plural = _("scanned ranges")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["provider", "high"], name="span_of_provider")]

    def __str__(self) -> str:
        return f"{self.low}–{self.high}"


class BackupMark(models.Model):
    """A number that only grows, kept here and in a file: a database that is behind was restored."""

    installation = models.UUIDField(default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(default=0, editable=False)
    marked_at = models.DateTimeField(null=True, editable=False)
    # Set when the database was found to be a restored one, until `after_restore` has run.
    restored_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("backup mark")
        verbose_name_plural = _("backup marks")

    def __str__(self) -> str:
        return str(self.number)


class DailySales(models.Model):
    """What the orders placed on one UTC day came to, for the site or one part of it.

    Made from the orders' rows by `orders.sales` and made again whenever they change; revenue less
    refunds is what the ledger says of those orders, to the cent.
    """

    class Part(models.TextChoices):
        SITE = "site", _("site")
        SERVICE = "service", _("service")
        CATEGORY = "category", _("category")
        PROVIDER = "provider", _("provider")
        CUSTOMER = "customer", _("customer")

    day = models.DateField(_("day"))
    part = models.CharField(_("part"), max_length=8, choices=Part.choices)
    key = models.BigIntegerField(default=0)
    orders = models.IntegerField(_("orders"))
    # Wider than an amount: they are sums, and a cost is what a provider says in another currency.
    revenue = models.DecimalField(_("revenue"), max_digits=30, decimal_places=6)
    refunds = models.DecimalField(_("refunds"), max_digits=30, decimal_places=6)
    cost = models.DecimalField(_("cost"), max_digits=30, decimal_places=6)

    class Meta:
        verbose_name = _("day's sales")
        verbose_name_plural = _("daily sales")
        constraints = [
            models.UniqueConstraint(fields=["part", "day", "key"], name="daily_sales_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.part} {self.key}"


class SalesMark(models.Model):
    """Up to where the ledger is in the daily sales, in one row."""

    entry_id = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("mark of the daily sales")
        verbose_name_plural = _("marks of the daily sales")

    def __str__(self) -> str:
        return str(self.entry_id)


class ApiAdd(models.Model):
    """An order that a key placed through API v2: a repeated call is recognised by it.

    Only accepted calls have a row: a refused one placed nothing and may come again under its
    request ID. Rows are forgotten after 48 hours.
    """

    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.ForeignKey("accounts.ApiKey", models.CASCADE, related_name="+")
    request_id = models.CharField(max_length=128, blank=True)
    # The hash of everything that was sent but the key: the same ID must mean the same order.
    content = models.CharField(max_length=64)
    order = models.OneToOneField(Order, models.CASCADE, related_name="api_add")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["created_at"], name="api_add_by_age"),
            models.Index(fields=["key", "-created_at"], name="api_add_of_key"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "request_id"],
                condition=~Q(request_id=""),
                name="api_add_request_id_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order_id}"


class Callback(models.Model):
    """Where a customer wants to be told that the status of an order has changed."""

    customer = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="callback",
        verbose_name=_("customer"),
    )
    url = models.CharField(_("address"), max_length=500)
    secret = EncryptedTextField(editable=False)
    is_active = models.BooleanField(_("active"), default=True)
    # How often in a row its server has failed, and until when it is left alone because of that.
    failures = models.IntegerField(_("failures"), default=0, editable=False)
    quiet_until = models.DateTimeField(_("next try"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("callback")
        verbose_name_plural = _("callbacks")

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One message to a callback: this order has this status."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        DELIVERED = "delivered", _("delivered")
        FAILED = "failed", _("given up")
        REPLACED = "replaced", _("replaced by newer news")

    callback = models.ForeignKey(Callback, models.CASCADE, related_name="deliveries")
    order = models.ForeignKey(Order, models.CASCADE, related_name="+")
    status = models.CharField(_("status"), max_length=12, choices=Status.choices)
    state = models.CharField(
        _("state"), max_length=10, choices=State.choices, default=State.WAITING
    )
    tries = models.IntegerField(_("tries"), default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    http_status = models.IntegerField(_("HTTP status"), null=True)
    answer = models.CharField(_("answer"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("when"), default=timezone.now)
    tried_at = models.DateTimeField(_("last try"), null=True)

    class Meta:
        verbose_name = _("callback message")
        verbose_name_plural = _("callback messages")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["next_try_at", "id"], condition=Q(state="waiting"), name="delivery_due"
            ),
            models.Index(fields=["order", "-id"], name="delivery_of_order"),
            models.Index(fields=["callback", "-id"], name="delivery_of_callback"),
            models.Index(fields=["created_at"], name="delivery_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.order_id} {self.status}"


class EventMark(models.Model):
    """How far the timeline has been read for callbacks; one row.

    `settled` is a line below which nothing can appear any more, `seen` the last line at `seen_at`.
    """

    settled = models.BigIntegerField(default=0)
    seen = models.BigIntegerField(default=0)
    seen_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.settled}"


class ProviderDay(models.Model):
    """A provider's day in its own currency: what our orders took, and what its balance lost."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="days", verbose_name=_("provider")
    )
    day = models.DateField(_("day"))
    booked = MoneyField(_("booked"))
    given_back = MoneyField(_("given back"))
    # Of orders that ended that day: what the provider says it charged, less what was due.
    overcharged = MoneyField(_("charged too much"))
    spent = MoneyField(_("balance spent"), null=True)
    unexplained = MoneyField(_("unexplained"), null=True)

    class Meta:
        verbose_name = _("provider's day")
        verbose_name_plural = _("providers' days")
        ordering = ["-day"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "day"], name="provider_day_once"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.day}"


class RetentionMark(models.Model):
    """Up to which order, by number, everything that is kept for a while was looked through."""

    name = models.CharField(max_length=20, primary_key=True)
    order_id = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name} {self.order_id}"
