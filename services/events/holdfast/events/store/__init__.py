"""All SQL of the events service: functions over a transaction, a file a noun.

Row-level security already keeps a transaction inside one organization; every statement names the organization all
the same, because that is what its indexes begin with. Locks are taken in one order: organization, venue, event,
schedules, due work.
"""
