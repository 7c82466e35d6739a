"""How a mesh is put together: ports, addresses, DSNs and what each process gets to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.local import plan, state
from holdfast.local.backoff import MOST_SECONDS, STEADY_SECONDS, Backoff
from holdfast.local.plan import Choice, PlanError
from holdfast.local.settings import SERVICES, for_service
from holdfast.local.state import ROLES, Layout, State
from holdfast.local.supervisor import how_it_ended

PASSWORDS = {role: f"secret-of-{role}/@" for role in ROLES}


def make(services: tuple[str, ...] = SERVICES, **inherited: str) -> plan.Plan:
    numbers = {name: 10_000 + number for number, name in enumerate(plan.DEFAULT_PORTS)}
    return plan.make(
        layout=Layout(Path("/nowhere")),
        state=State(passwords=PASSWORDS, page_token_key="k" * 40),
        choice=Choice(ports=numbers, listens={name: f"127.0.0.1:{port}" for name, port in numbers.items()}),
        services=services,
        inherited=inherited,
        admin_dsn="postgresql://postgres:root-secret@127.0.0.1:54329/postgres",
        nats_url="nats://holdfast:n@127.0.0.1:4222",
        cache_url="redis://:v@127.0.0.1:6379/0",
    )


def test_each_service_gets_its_own_roles_and_no_one_elses_secrets() -> None:
    made = make()
    for service in plan.DATABASE_SERVICES:
        text = "\n".join(made.environments[service].values())
        others = [role for role in ROLES if not role.startswith(service)]
        assert not [role for role in others if f"secret-of-{role}" in text]
        assert f"holdfast_{service}_owner" not in text
        assert "root-secret" not in text
    assert "HOLDFAST_CAPACITY_SWEEPER_DSN" in made.environments["capacity"]
    assert not [name for name in made.environments["gateway"] if name.endswith("_DSN")]


def test_a_password_is_quoted_where_it_stands_in_a_dsn() -> None:
    assert ":secret-of-events_relay%2F%40@127.0.0.1:54329/postgres" in make().dsns["events_relay"]


def test_what_the_environment_says_wins() -> None:
    made = make(HOLDFAST_NATS_URL="nats://elsewhere:4222", HOLDFAST_EVENTS_ADDRESS="events.example:443")
    for service in SERVICES:
        assert made.environments[service]["HOLDFAST_NATS_URL"] == "nats://elsewhere:4222"
        assert made.environments[service]["HOLDFAST_EVENTS_ADDRESS"] == "events.example:443"


def test_a_service_never_sees_another_services_variables_but_all_see_addresses() -> None:
    inherited = {
        "HOLDFAST_EVENTS_DATABASE_DSN": "x",
        "HOLDFAST_EVENTS_ADDRESS": "events:1",
        "HOLDFAST_GATEWAY_JWKS": "y",
        "PATH": "/bin",
    }
    assert for_service(inherited, "capacity") == {"HOLDFAST_EVENTS_ADDRESS": "events:1", "PATH": "/bin"}
    assert set(for_service(inherited, "events")) == set(inherited) - {"HOLDFAST_GATEWAY_JWKS"}


def test_a_database_that_was_given_is_not_migrated_with_our_administrator() -> None:
    made = make(HOLDFAST_EVENTS_DATABASE_DSN="postgresql://me:p@db.example/x")
    assert not made.migrates("events")
    assert "HOLDFAST_EVENTS_ADMIN_DSN" not in made.migration_environment("events")
    assert made.migrates("pricing")
    assert made.migration_environment("pricing")["HOLDFAST_PRICING_ADMIN_DSN"] == made.dsns["admin"]


def test_a_given_database_with_an_owner_is_migrated_as_that_owner() -> None:
    given = "postgresql://me:p@db.example/x"
    made = make(HOLDFAST_EVENTS_DATABASE_DSN=given, HOLDFAST_EVENTS_MIGRATION_DSN=given)
    assert made.migrates("events")
    assert made.migration_environment("events")["HOLDFAST_EVENTS_MIGRATION_DSN"] == given


def test_what_listens_everywhere_is_reached_on_loopback() -> None:
    assert plan.reachable_address("0.0.0.0:8080") == "127.0.0.1:8080"
    assert plan.reachable_address("[::]:8080") == "[::1]:8080"
    assert plan.reachable_address("10.0.0.5:8080") == "10.0.0.5:8080"


def test_services_start_in_their_order_whatever_the_order_asked() -> None:
    assert plan.parse_services("gateway, events") == ("events", "gateway")


@pytest.mark.parametrize("text", ["", ",", "events,orders"])
def test_services_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        plan.parse_services(text)


def test_restarts_wait_longer_each_time_up_to_a_limit_and_begin_anew_after_a_steady_run() -> None:
    backoff = Backoff()
    pauses = [backoff.after(0.1) for _ in range(40)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MOST_SECONDS
    assert backoff.after(STEADY_SECONDS) == 0.2


@pytest.mark.parametrize(
    ("code", "words"), [(None, "ended"), (3, "exited with 3"), (-9, "was killed by SIGKILL"), (-250, "signal 250")]
)
def test_how_a_process_ended_is_said_in_words(code: int | None, words: str) -> None:
    assert words in how_it_ended(code)


def test_every_role_of_the_state_has_a_dsn() -> None:
    assert set(make().dsns) == {"admin", *state.ROLES}
