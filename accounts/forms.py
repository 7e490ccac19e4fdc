import zoneinfo
from typing import ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.keys import InvalidNetwork, clean_networks
from accounts.mail import Kind
from accounts.models import User

_REGIONS = (
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe",
    "Indian", "Pacific",
)  # fmt: skip


def time_zones() -> list[tuple[str, str]]:
    """The named zones of the world, without the aliases that systems also list."""
    names = sorted(
        name for name in zoneinfo.available_timezones() if name.partition("/")[0] in _REGIONS
    )
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]


class _OwnForm(forms.ModelForm[User]):
    """Writes its own columns alone: the rest of the row may have changed since it was read."""

    columns: ClassVar[list[str]]

    def save(self, commit: bool = True) -> User:  # noqa: ARG002 - Django's signature
        self.instance.save(update_fields=self.columns)
        return self.instance


class MailForm(_OwnForm):
    """Which mails a customer gets."""

    columns: ClassVar[list[str]] = ["low_balance", "mail_off"]

    wanted = forms.MultipleChoiceField(
        label=_("Write to me when"),
        required=False,
        choices=[each for each in Kind.choices if each[0] != Kind.LOW_BALANCE],
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = User
        fields: ClassVar[list[str]] = ["low_balance"]
        labels: ClassVar[dict[str, object]] = {
            "low_balance": _("Write to me when the balance falls below")
        }
        help_texts: ClassVar[dict[str, object]] = {"low_balance": _("Leave it empty for no mail.")}

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        wanted = self.fields["wanted"]
        assert isinstance(wanted, forms.MultipleChoiceField)  # noqa: S101 - for the type checker
        self.kinds = [kind.value for kind in Kind if kind is not Kind.LOW_BALANCE]
        wanted.initial = [kind for kind in self.kinds if kind not in self.instance.mail_off]
        self.fields["low_balance"] = forms.DecimalField(
            label=self.fields["low_balance"].label,
            help_text=self.fields["low_balance"].help_text,
            required=False,
            min_value=0,
            max_value=10**8,
            decimal_places=2,
            widget=forms.TextInput({"inputmode": "decimal", "autocomplete": "off"}),
        )

    def save(self, commit: bool = True) -> User:
        wanted = self.cleaned_data["wanted"]
        self.instance.mail_off = [kind for kind in self.kinds if kind not in wanted]
        return super().save(commit)


class SettingsForm(_OwnForm):
    """What a customer may say about themselves."""

    columns: ClassVar[list[str]] = ["name", "language", "time_zone"]

    time_zone = forms.ChoiceField(
        label=_("Time zone"),
        required=False,
        help_text=_("Dates and times are shown in this zone."),
    )

    class Meta:
        model = User
        fields: ClassVar[list[str]] = ["name", "language", "time_zone"]
        labels: ClassVar[dict[str, object]] = {"name": _("Name"), "language": _("Language")}

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["name"].widget.attrs["autocomplete"] = "name"
        language = self.fields["language"]
        time_zone = self.fields["time_zone"]
        assert isinstance(language, forms.TypedChoiceField)  # noqa: S101 - for the type checker
        assert isinstance(time_zone, forms.ChoiceField)  # noqa: S101 - for the type checker
        language.choices = [
            ("", _("As the browser asks")),
            *User._meta.get_field("language").choices,
        ]  # type: ignore[misc]
        time_zone.choices = [("", _("As the site")), *time_zones()]


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        label=_("Name"),
        max_length=60,
        help_text=_("So that you can tell your keys apart, such as the program's name."),
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    allowed_from = forms.CharField(
        label=_("Allowed addresses"),
        required=False,
        max_length=2000,
        help_text=_("IP addresses or networks such as 203.0.113.0/24. Empty: from everywhere."),
        widget=forms.Textarea({"rows": 2, "autocomplete": "off"}),
    )

    def clean_allowed_from(self) -> str:
        try:
            return clean_networks(self.cleaned_data["allowed_from"])
        except InvalidNetwork as exc:
            raise forms.ValidationError(str(exc)) from None
