"""Use cases inside a given transaction, a file a noun. No network, no clock: both are the caller's."""
