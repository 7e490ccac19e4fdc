"""Filters of the admin's lists."""

from datetime import date, datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import DateField, TimeField
from django.http import HttpRequest
from django.utils.timezone import make_aware
from unfold.contrib.filters.admin import RangeDateTimeFilter


class PeriodFilter(RangeDateTimeFilter):  # type: ignore[misc] # unfold has no types
    """From and until, as the reader writes dates and where the reader is; a day alone is all of it.

    Unfold's own reads the month before the day, takes the site's time zone, and leaves out what it
    can't read: a list that looks filtered then holds everything, for the actions on all of it too.
    Here it then holds nothing.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        try:
            since, until = self._moment("from", time.min), self._moment("to", time.max)
        except ValidationError:
            return queryset.none()
        if since:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": since})
        if until:
            queryset = queryset.filter(**{f"{self.parameter_name}__lte": until})
        return queryset

    def _moment(self, side: str, without_time: time) -> datetime | None:
        given = [self.used_parameters.get(f"{self.parameter_name}_{side}_{n}") for n in (0, 1)]
        at = TimeField(required=False).clean(given[1])
        day = DateField(required=at is not None).clean(given[0])
        if day is None:
            return None
        if not date.min < day < date.max:
            raise ValidationError("no day with a neighbour")
        return make_aware(datetime.combine(day, without_time if at is None else at))
