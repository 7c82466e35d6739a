"""The cases, in the order in which they run. Their ids are fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import database, million, rest, rpc, seats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.bench import Bench
    from benchmarks.results import Result

CASES: Mapping[str, Callable[[Bench], Result]] = {
    "rest_hold_hot": rest.hold_hot,
    "rest_hold_hot_priced": rest.hold_hot_priced,
    "rest_hold_spread": rest.hold_spread,
    "rest_hold_seats": rest.hold_seats,
    "rest_hold_best": rest.hold_best,
    "grpc_hold_batch": rpc.hold_batch,
    "grpc_hold_unary": rpc.hold_unary,
    "grpc_echo": rpc.echo,
    "baseline_for_update": database.baseline_for_update,
    "database_batched": database.batched,
    "rest_lifecycle": rest.lifecycle,
    "rest_availability": rest.availability,
    "seating_50k": seats.seating_50k,
    "seatmap_50k": seats.seatmap_50k,
    "hold_at_1m": million.hold_at_1m,
}
ALONE = frozenset({"hold_at_1m"})
"""Cases that get a mesh without what other cases left in it."""
