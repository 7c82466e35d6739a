"""The inventory engine: every mutation of an event's inventory goes through here, many of them in one commit.

`Engine.submit` puts a command into its event's queue (queues); a batch of them is read (reading), decided by the pure
rules of `domain` in the order of arrival, written (writing) and committed (batches).
"""
