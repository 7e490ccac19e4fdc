"""Placeholder replaced by the client."""


class Timeouts:
    def __init__(self, *, connect: float = 10.0, read: float = 30.0, total: float = 35.0) -> None:
        self.connect, self.read, self.total = connect, read, total


class Client:
    def __init__(self, **options: object) -> None:
        self.options = options
