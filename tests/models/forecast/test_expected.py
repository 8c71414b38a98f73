"""What was expected is told from what came before alone, and its bands hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import DAY, HOUR, MINUTE, SECOND
from coldaisle.expected import Expected, Past
from models.forecast.expected import CHECKED, LEARNT, MOST_STEPS, STRETCH, LightExpecting
from models.forecast.light import WARM_UP, Lasting, LightForecaster

NOW = 1_000_000 * MINUTE
INTERVAL = 10 * SECOND


def told(values: NDArray[np.float64], shown: int = HOUR, ahead: int = HOUR // 4, interval: int = INTERVAL) -> Expected:
    """Return what was expected of ``values``, the last of which came at NOW, in the last ``shown`` ns."""
    return told_together(values[None], shown, ahead, interval)[0]


def told_together(
    lives: NDArray[np.float64], shown: int = HOUR, ahead: int = HOUR // 4, interval: int = INTERVAL
) -> list[Expected]:
    """Return what was expected of each of ``lives`` [series, samples]."""
    times = NOW - interval * np.arange(lives.shape[1] - 1, -1, -1)
    forecaster, inside = LightExpecting(), times >= NOW - shown
    plan = forecaster.plan([Past(times[inside], values[inside]) for values in lives], NOW - shown, NOW)
    return forecaster.expected([Past(times, values) for values in lives], plan, NOW - shown, NOW, ahead)


def walk(seed: int, count: int = 900) -> NDArray[np.float64]:
    return np.asarray(60.0 + np.cumsum(np.random.default_rng(seed).normal(0.0, 0.2, count)))


def test_what_is_told_of_a_moment_depends_on_nothing_from_then_on() -> None:
    values = walk(1)
    whole = told(values)
    for cut in (150, 300, 357):
        changed = values.copy()
        since = len(values) - 361 + cut
        changed[since:] += 1000.0
        other = told(changed)
        when = NOW - INTERVAL * (len(values) - 1 - since)
        before = (whole.timestamps <= when) & (np.arange(len(whole.timestamps)) < whole.ahead)
        assert before.sum() > cut // 4
        np.testing.assert_array_equal(whole.quantiles[before], other.quantiles[before])
        assert np.abs(whole.quantiles[-1] - other.quantiles[-1]).max() > 1.0


def test_the_bands_hold_what_they_promise_before_and_ahead() -> None:
    steps, inside, beyond = np.random.default_rng(2).normal(0.0, 1.0, (16, 1000)), [], []
    lives = 60.0 + np.where(np.arange(16)[:, None] % 2, np.cumsum(steps, axis=1), steps)  # noise and walks by turns
    for values, one in zip(lives, told_together(lives[:, :900]), strict=True):
        low, high, seen = one.quantiles[:, 1], one.quantiles[:, 3], one.observed
        inside.append(np.mean(((seen >= low) & (seen <= high))[: one.ahead]))
        came = values[899 + ((one.timestamps[one.ahead :] - NOW) // INTERVAL)]
        beyond.append(np.mean((came >= low[one.ahead :]) & (came <= high[one.ahead :])))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)
    assert np.mean(beyond) == pytest.approx(0.8, abs=0.15)  # sixteen paths are few: each lies in or out as one


def test_one_step_ahead_is_what_a_forecaster_says_that_lived_so_long() -> None:
    values, step = walk(3), 30 * SECOND
    one = told(values)
    light, ids = LightForecaster(30.0, 1, Lasting.HOURS), np.array([0])
    light.admit(ids)
    last = one.ahead - 1
    number = int(one.timestamps[last]) // step
    begin = number // STRETCH * STRETCH - LEARNT
    times = NOW - INTERVAL * np.arange(len(values) - 1, -1, -1)
    for at in range(begin, number):
        newest = np.flatnonzero(times // step == at)[-1:]
        light.learn(ids, np.array([at * step]), values[newest])
    np.testing.assert_allclose(one.quantiles[last], light.predict(ids)[0, 0], rtol=1e-6)


def test_a_gap_stays_a_gap_and_the_band_begins_again_after_it() -> None:
    values = walk(4)
    values[700:760] = np.nan
    one = told(values)
    since, until = NOW - 199 * INTERVAL, NOW - 140 * INTERVAL
    silent = (one.timestamps > since + MINUTE) & (one.timestamps < until)
    assert silent.sum() > 10
    assert np.isnan(one.quantiles[silent]).all()
    assert np.isfinite(one.quantiles[one.timestamps > until + 2 * MINUTE]).all()


def test_what_spoke_again_after_a_long_silence_keeps_what_was_told_before() -> None:
    values = walk(4)
    values[590:890] = np.nan
    one = told(values)
    assert one.lacking > 0
    assert np.isfinite(one.quantiles).any()
    assert one.ahead == len(one.timestamps)


def test_a_series_that_never_moves_has_a_flat_band() -> None:
    one = told(np.full(900, 7.25))
    assert np.isfinite(one.quantiles).all()
    np.testing.assert_allclose(one.quantiles, 7.25)


def test_a_jump_is_followed_at_once() -> None:
    random = np.random.default_rng(5)
    values = np.concatenate([random.normal(1850.0, 5.0, 700), random.normal(6900.0, 5.0, 200)])
    one = told(values)
    settled = one.timestamps[: one.ahead] > NOW - 25 * MINUTE
    assert np.abs(one.quantiles[: one.ahead, 2][settled] - 6900.0).max() < 700.0


def test_a_new_hour_of_the_day_is_no_reason_to_fall_back() -> None:
    ramp = 20.0 + np.maximum(0.0, np.arange(2160) - 1800.0) * 0.02  # for the last hour of six, until 27.2
    one = told(ramp + np.random.default_rng(11).normal(0.0, 0.1, 2160), shown=6 * HOUR, ahead=HOUR)
    next_hour = (one.timestamps // HOUR > NOW // HOUR) & (one.timestamps < NOW + 45 * MINUTE)
    assert next_hour.sum() > 3
    assert one.quantiles[next_hour, 2].min() > 26.0
    assert one.quantiles[one.ahead :, 2].max() < 35.0  # nor is it on its way to the moon


def test_hours_of_the_day_are_known_once_two_days_were_seen() -> None:
    at = np.arange(15 * 24 * 12)
    values = 50.0 + 20.0 * (at // 12 % 24 >= 12) + np.random.default_rng(12).normal(0.0, 0.5, len(at))
    one = told(values, shown=7 * DAY, ahead=DAY, interval=5 * MINUTE)
    middle = one.quantiles[one.ahead :, 2]
    assert middle.max() - middle.min() > 12.0


@pytest.mark.parametrize("count", [0, 1, 2, 3 * (WARM_UP - 2)])
def test_of_too_short_a_past_nothing_is_told_and_it_is_said_how_much_is_lacking(count: int) -> None:
    one = told(walk(6)[:count] if count else np.zeros(0))
    assert np.isnan(one.quantiles).all()
    assert 0 < one.lacking <= WARM_UP


def test_a_forecast_reaches_no_further_than_was_checked() -> None:
    short = told(walk(7)[-3 * 30 :])  # thirty steps of 30 s were seen
    assert 0 < len(short.timestamps) - short.ahead <= 31 // CHECKED
    long = told(walk(7), ahead=DAY)
    assert len(long.timestamps) - long.ahead <= (LEARNT + STRETCH) // CHECKED
    assert len(told(walk(7), ahead=0).timestamps) == told(walk(7), ahead=0).ahead


def test_nothing_is_foretold_of_what_has_been_silent_for_longer_than_that() -> None:
    values = walk(8)
    values[-200:] = np.nan
    one = told(values)
    assert one.ahead == len(one.timestamps) > 0


def test_the_work_is_bounded_however_long_the_span_and_however_rare_the_samples() -> None:
    forecaster, times = LightExpecting(), np.arange(NOW - 40 * DAY, NOW, 15 * MINUTE)
    past = Past(times, np.ones(len(times)))
    for span in (MINUTE, HOUR, DAY, 7 * DAY, 400 * DAY):
        plan = forecaster.plan([past], NOW - span, NOW)
        assert span / plan.step <= MOST_STEPS
        assert plan.step >= 1.5 * 15 * MINUTE
        assert (NOW - span - plan.begin) / plan.step <= LEARNT + STRETCH
    assert forecaster.plan([], NOW - HOUR, NOW).step == 30 * SECOND


def test_series_are_told_together_as_each_alone() -> None:
    forecaster, times = LightExpecting(), NOW - INTERVAL * np.arange(899, -1, -1)
    pasts = [Past(times, walk(9)), Past(times[:300], walk(10)[:300]), Past(times[:0], np.zeros(0))]
    plan = forecaster.plan(pasts[:1], NOW - HOUR, NOW)
    together = forecaster.expected(pasts, plan, NOW - HOUR, NOW, HOUR // 4)
    alone = [forecaster.expected([past], plan, NOW - HOUR, NOW, HOUR // 4)[0] for past in pasts]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.quantiles, other.quantiles)
        assert one.ahead == other.ahead
    assert len(together[2].timestamps) == 0
