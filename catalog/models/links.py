"""What the operator refuses in orders."""

import re

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _


class LinkRule(models.Model):
    """Something the operator refuses in orders, and what the customer is told."""

    class Kind(models.TextChoices):
        HOST = "host", _("host")
        WORD = "word", _("word")
        PATTERN = "pattern", _("pattern")

    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    text = models.CharField(
        _("text"),
        max_length=200,
        help_text=_(
            "A host such as example.com, with everything below it; a word, found anywhere in an order; "
            "or a pattern for whole links, in which * stands for anything and ? for one character."
        ),
    )
    message = models.CharField(
        _("message"), max_length=200, blank=True, help_text=_("What the customer reads.")
    )
    is_on = models.BooleanField(_("on"), default=True)

    class Meta:
        verbose_name = _("link rule")
        verbose_name_plural = _("link rules")
        constraints = [models.UniqueConstraint(fields=["kind", "text"], name="link_rule_once")]

    def __str__(self) -> str:
        return self.text

    def clean(self) -> None:
        self.text = self.text.strip().casefold()
        if self.kind == self.Kind.HOST and not re.fullmatch(r"[\w-]+(\.[\w-]+)+", self.text):
            raise ValidationError({"text": _("Enter a host such as example.com.")})
        if len(self.text.replace("*", "").replace("?", "")) < 3:
            raise ValidationError({"text": _("This would refuse almost everything.")})
