"""Protobuf ⇄ domain, pure: a file a noun."""
