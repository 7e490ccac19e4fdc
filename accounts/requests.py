"""What our views receive: a request with its user and what htmx says about it."""

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class PageRequest(HttpRequest):
    """Any visitor's request."""

    user: User | AnonymousUser
    htmx: HtmxDetails


class CustomerRequest(PageRequest):
    """A signed-in person's request; `login_required` stands before every view that takes it."""

    user: User
