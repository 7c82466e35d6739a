"""What may be done with an event's inventory: pure rules over values in memory. No I/O, clock, SQL or protobuf."""
