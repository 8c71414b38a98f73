"""The alert budget: how the one number that users set becomes a threshold."""

from __future__ import annotations

from coldaisle.errors import ConfigError

SECONDS_PER_DAY = 86_400.0


def threshold(budget_false_events_per_day: float, tests_per_day: float) -> float:
    """
    Return the tail probability below which a test may call for attention.

    ``p = budget / tests``: of ``tests_per_day`` looks at normal life, each alarming with probability p,
    ``tests x p`` alarm in the mean whether or not they depend on each other (Bonferroni 1936; linearity
    of the mean), so the budget holds. Looks that follow each other closely alarm together and count as
    one event, so the true number is lower, never higher. At most 1. Raises ConfigError for a budget or
    number of tests that is not positive.
    """
    if not budget_false_events_per_day > 0:
        raise ConfigError(f"alert budget {budget_false_events_per_day}: give a number above 0")
    if not tests_per_day > 0:
        raise ConfigError(f"{tests_per_day} tests a day: there is nothing to spend an alert budget on")
    return min(1.0, budget_false_events_per_day / tests_per_day)


def fleet_threshold(
    budget_per_thousand_gpus_per_day: float, gpus: int, series: int, interval_seconds: float, detectors: int = 1
) -> float:
    """
    Return the threshold of a fleet whose budget is stated per thousand GPUs and day.

    The fleet as a whole may be wrong ``budget x gpus / 1000`` times a day; it looks at each of its
    ``series`` every ``interval_seconds`` with ``detectors`` detectors. A fleet of fewer than a thousand
    GPUs, or of none, has the budget of a thousand: people count pages, not fractions. Raises ConfigError.
    """
    if not interval_seconds > 0:
        raise ConfigError(f"interval of {interval_seconds} s: give a number above 0")
    budget = budget_per_thousand_gpus_per_day * max(1.0, gpus / 1000.0)
    return threshold(budget, series * detectors * SECONDS_PER_DAY / interval_seconds)


def combined(smallest: float, looks: int) -> float:
    """
    Return the tail probability that the smallest of ``looks`` probabilities deserves: ``min(1, looks x p)``.

    Bonferroni's bound: right in the mean whatever the dependence between detectors.
    """
    return min(1.0, smallest * looks)
