"""Servicers: translate, call, translate; a file a service."""
