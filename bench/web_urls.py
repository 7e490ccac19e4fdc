"""The panel's addresses and an empty one that only the benchmark has."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

from accounts.requests import CustomerRequest
from panel.urls import urlpatterns as of_the_panel


@login_required
@require_POST
def empty(request: CustomerRequest) -> HttpResponse:
    """Session, user and CSRF as for every page, and no more."""
    assert request.user.pk
    return HttpResponse(status=204)


urlpatterns = [path("bench/empty", empty), *of_the_panel]
