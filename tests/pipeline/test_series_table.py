"""One object for each series, however often the process that knows it starts anew."""

from __future__ import annotations

from coldaisle.series import Layout, Series, labels
from coldaisle.topology import Topology
from pipeline.series_table import SeriesTable


def layout() -> Layout:
    """A layout whose words are objects of its own."""
    return Layout(Series(metric, labels(node=f"n{number}")) for number in range(5) for metric in ("a_watts", "b_watts"))


def test_after_a_restart_a_series_is_the_object_that_its_layout_holds() -> None:
    before, after, told = SeriesTable(Topology()), SeriesTable(Topology()), layout()
    ids = before.ids(told)
    after.restore(before.state())
    again = layout()
    assert after.ids(again).tolist() == ids.tolist()
    assert all(after.series(number) is series for number, series in zip(ids.tolist(), again.series, strict=True))
    assert all(after.find(series) == number for number, series in zip(ids.tolist(), told.series, strict=True))
    assert len(after) == len(before) == 10
    assert {name: after.state()[name].tobytes() for name in ("labels", "metric", "texts")} == {
        name: before.state()[name].tobytes() for name in ("labels", "metric", "texts")
    }
