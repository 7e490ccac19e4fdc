"""Which state the catalogue is in."""

from django.db import models


class StockMark(models.Model):
    """A mark that the database leaves by a trigger when it changes anything that is on sale.

    No code writes one. The marks that can be seen, together, are others after every change: see
    `catalog.triggers`.
    """

    mark = models.UUIDField(primary_key=True)

    def __str__(self) -> str:
        return str(self.mark)
