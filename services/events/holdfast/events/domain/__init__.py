"""The rules of events, venues and dates: pure functions of their inputs and the time that is passed in."""
