"""Orders, what is asked about them, their customers, approvals and providers in the admin."""

from orders.admin import approvals, callbacks, customers, orders, providers, requests, runs

__all__ = ["approvals", "callbacks", "customers", "orders", "providers", "requests", "runs"]
