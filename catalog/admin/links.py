"""Link rules in the admin."""

from django.contrib import admin

from accounts.staff import StaffAdmin
from catalog.models import LinkRule


@admin.register(LinkRule)
class LinkRuleAdmin(StaffAdmin):
    """What is refused in orders, and what the customer is told."""

    list_display = ("text", "kind", "message", "is_on")
    list_filter = ("kind", "is_on")
    search_fields = ("text", "message")
    fields = ("kind", "text", "message", "is_on")
