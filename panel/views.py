from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.requests import PageRequest


def home(request: PageRequest) -> HttpResponse:
    """A short welcome for visitors; customers go straight to ordering."""
    if request.user.is_authenticated:
        return redirect("orders:new")
    return render(request, "home.html")
