"""The servers that tests share."""

pytest_plugins = ["tests.support.postgres", "tests.support.nats"]
