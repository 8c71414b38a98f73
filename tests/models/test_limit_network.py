"""Where a trained forecaster covers a series, whoever is surer speaks: the network or the trend."""

from __future__ import annotations

import numpy as np

from coldaisle.warner import View
from models.forecast.served import Paths
from models.limit_warning import HORIZON_SECONDS, LimitWarning
from tests.models.forecast.foreteller import Foreteller, Way, card
from tests.models.warned import Place, odds

INLET, GPU = "node_inlet_temperature_celsius", "gpu_temperature_celsius"


def rises_to(level: float) -> Way:
    """The network expects every series at ``level`` in half an hour."""

    def way(history: Paths, _last: int) -> Paths:
        medians = np.repeat(history[:, -1:], 60, axis=1)
        medians[:, 30:] = level
        return medians

    return way


def place(foreteller: Foreteller | None, metric: str = INLET, limit: float = 35.0) -> Place:
    return Place(LimitWarning(foreteller), [(metric, 0, 0)], {0: (limit, True)})


def told(views: list[View]) -> list[str]:
    return [view.outlooks[0].model for view in views if view.outlooks]


def test_a_crossing_that_no_trend_shows_is_foretold_by_the_network_which_says_so() -> None:
    shown = place(Foreteller(card((INLET,)), rises_to(38.0)))
    views = [shown.look([24.0 + 0.01 * (minute % 2)]) for minute in range(60)]
    # Half of its past must be known, then it must have been on its way for ten minutes.
    assert not any(view.outlooks for view in views[:25])
    outlook = views[-1].outlooks[0]
    assert outlook.probability > 0.99
    assert (outlook.model, outlook.version) == ("limit_warning/nhits", "v7")
    assert "is expected at 38 °C in" in outlook.reasons[0].text
    assert "trained forecaster nhits" in outlook.reasons[0].text
    assert 25 * 60 <= outlook.within.low <= outlook.within.median <= 32 * 60 < outlook.within.high < HORIZON_SECONDS


def test_what_load_moves_is_foretold_only_by_a_network_that_has_learnt_it() -> None:
    for metrics, wanted in (((GPU,), {"limit_warning/nhits"}), ((INLET,), set())):
        foreteller = Foreteller(card(metrics), rises_to(95.0))
        shown = place(foreteller, GPU, 87.0)
        assert set(told([shown.look([60.0]) for _ in range(60)])) == wanted
        assert bool(foreteller.asked) == bool(wanted)


def test_a_fault_that_no_history_holds_is_still_foretold_by_its_trend() -> None:
    with_network, alone = place(Foreteller(card((INLET,)), rises_to(24.0))), place(None)
    line = np.concatenate([np.full(30, 24.0), 24.0 + 0.12 * np.arange(88)])
    line += np.random.default_rng(1).normal(0, 0.2, len(line))
    views = [(with_network.look([value]), alone.look([value])) for value in line.tolist()]
    assert max(odds(one, "too_much") for one, _ in views) >= 0.8
    assert all(one == other for one, other in views)
    assert set(told([one for one, _ in views])) == {""}


def test_a_network_that_fails_leaves_everything_to_the_trend() -> None:
    foreteller = Foreteller(card((INLET,)), rises_to(38.0))
    shown = place(foreteller)
    views = [shown.look([24.0]) for _ in range(40)]
    foreteller.silent = True
    later = [shown.look([24.0]) for _ in range(20)]
    assert odds(views[-1], "too_much") > 0.99
    assert not any(view.outlooks for view in later[8:])  # what it said before has grown old


def test_a_flow_that_the_network_expects_below_its_limit_is_foretold() -> None:
    flow = "node_coolant_flow_litres_per_minute"
    warner = LimitWarning(Foreteller(card((flow,)), rises_to(20.0)))
    shown = Place(warner, [(flow, 0, 0)], {0: (30.0, False)})
    assert odds([shown.look([50.0]) for _ in range(60)][-1], "too_much") > 0.99


def test_a_state_taken_back_says_the_same_and_another_network_begins_anew() -> None:
    first, second = (place(Foreteller(card((INLET,)), rises_to(38.0))) for _ in range(2))
    for _ in range(41):
        first.look([24.0])
    second.warner.restore(first.warner.state())
    second.minutes = first.minutes
    assert [second.look([24.0]) for _ in range(20)] == [first.look([24.0]) for _ in range(20)]
    for warner in (None, Foreteller(card((INLET, GPU), encoder=60), rises_to(38.0))):
        other = place(warner)
        other.warner.restore(place_state(first, version="v6"))
        other.minutes = first.minutes
        assert not any(other.look([24.0]).outlooks for _ in range(20))


def place_state(shown: Place, version: str) -> dict[str, object]:
    """The state of a warner whose network had another version."""
    return {key.replace("paths-v7", f"paths-{version}"): value for key, value in shown.warner.state().items()}
