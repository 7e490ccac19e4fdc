from decimal import Decimal
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wallet.models import TopUpMethod
from wallet.money import LIMIT
from wallet.proofs import MOST_BYTES, type_of
from wallet.templatetags.money import money
from wallet.topups import credit_for


class TopUpForm(forms.Form):
    """What a customer says they paid by one method."""

    amount = forms.DecimalField(
        label=gettext_lazy("Amount paid"),
        max_digits=15,
        max_value=LIMIT,
        decimal_places=2,
        widget=forms.TextInput({"inputmode": "decimal", "autocomplete": "off"}),
    )
    reference = forms.CharField(
        label=gettext_lazy("Reference of the payment"),
        max_length=100,
        help_text=gettext_lazy("What you wrote on the transfer, or its number."),
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    proof = forms.FileField(
        label=gettext_lazy("Picture of the receipt"),
        required=False,
        help_text=gettext_lazy("PNG, JPEG or WebP, up to 5 MB. Only you and our staff can see it."),
        widget=forms.FileInput({"accept": "image/png,image/jpeg,image/webp"}),
    )

    def __init__(self, method: TopUpMethod, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.method = method
        self.fields["amount"].help_text = _("From %(low)s to %(high)s.") % {
            "low": money(method.min_amount),
            "high": money(method.max_amount),
        }

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if not self.method.min_amount <= amount <= self.method.max_amount:
            raise forms.ValidationError(str(self.fields["amount"].help_text))
        if credit_for(amount, self.method.percent) > LIMIT:
            raise forms.ValidationError(_("This amount can't be posted."))
        return amount

    def clean_proof(self) -> UploadedFile[bytes] | None:
        proof: UploadedFile[bytes] | None = self.cleaned_data.get("proof")
        if proof is None:
            return None
        if (proof.size or 0) > MOST_BYTES:
            raise forms.ValidationError(_("The picture is larger than 5 MB."))
        if not type_of(proof):  # type: ignore[arg-type]
            raise forms.ValidationError(_("Choose a PNG, JPEG or WebP picture."))
        return proof
