"""The inventory engine: every mutation of an event's inventory goes through here."""
