"""The API v2 client, its protocol facts, and a simulator of a provider; plain Python, no Django."""
