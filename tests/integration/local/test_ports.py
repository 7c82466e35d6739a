"""Two meshes that start at the same time never choose the same port."""

from __future__ import annotations

from holdfast.local.ports import Reservations, choose


def test_a_port_let_go_for_its_process_is_still_kept_from_another_mesh() -> None:
    mine, theirs = Reservations(), Reservations()
    port = choose()
    assert mine.keep(port)
    mine.let_go(port)
    assert not theirs.keep(port)
    mine.let_go_all()
    assert theirs.keep(port)
    theirs.let_go_all()
