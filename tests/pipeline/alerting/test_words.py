from __future__ import annotations

from coldaisle.clock import HOUR, MINUTE, SECOND
from pipeline.alerting.words import called, capital, counts, duration, names, sentence


def test_no_list_of_names_is_longer_than_three() -> None:
    nodes = [f"node/n{number}" for number in (10, 2, 1, 33)]

    assert names(nodes) == "n1, n2, n10 and 1 more"
    assert names(nodes[:3]) == "n1, n2 and n10"
    assert names(nodes[:1]) == "n10"
    assert names([]) == ""


def test_things_are_called_what_people_call_them() -> None:
    assert called("crac/crac-2") == "cooling unit crac-2"
    assert called("pdu/pdu-a1") == "pdu-a1"
    assert called("psu/n017:psu0") == "power supply psu0 of node n017"
    assert called("site/site") == "the site"


def test_counts_name_kinds_the_large_things_first() -> None:
    assert counts(["gpu/a", "gpu/b", "node/n", "rack/r"]) == "1 rack, 1 node and 2 GPUs"
    assert counts(["psu/a", "psu/b"]) == "2 power supplies"


def test_spans_are_in_the_unit_a_person_would_choose() -> None:
    spans = (0, 40 * SECOND, 4 * MINUTE, 3 * HOUR + 30 * MINUTE, 72 * HOUR)
    assert [duration(span) for span in spans] == ["0 s", "40 s", "4 min", "3.5 h", "3 days"]


def test_a_sentence_begins_large_unless_it_begins_with_a_name() -> None:
    assert sentence("cooling unit crac-b is warm") == "Cooling unit crac-b is warm."
    assert sentence("n017 is silent.") == "n017 is silent."
    assert capital("node n017") == "Node n017"
