from __future__ import annotations

from xml.etree import ElementTree

from dashboard.evaluation_report import EvaluationPage, FilePicture, SetPart, Table, html
from dashboard.evaluation_svg import curves, reliability, through_time


def test_drawings_are_whole_and_hold_what_they_are_given() -> None:
    lines = [("power <w>", [1.0, None, 2.0], [2.0, None, 3.0])]
    strips = [("pca", "k1", [0.0, 0.5, None], [(0.3, 0.6)])]
    drawn = through_time(lines, strips, [(0.5, 0.7)], [(0.0, "01-01"), (1.0, "01-02")])
    root = ElementTree.fromstring(drawn)
    kinds = [each.get("class") for each in root.iter("rect")]
    assert kinds == ["event", "flag k1"]
    assert "power <w>" in [each.text for each in root.iter("text")]


def test_a_flat_or_unknown_metric_can_be_drawn() -> None:
    for values in ([5.0, 5.0], [None, None], []):
        drawn = through_time([("m", values, values)], [], [], [])
        assert ElementTree.fromstring(drawn).tag == "svg"


def test_curves_and_reliability_stay_within_their_frames() -> None:
    for drawn in (
        curves({"a": ("k0", [(0.0, 1.0), (1.0, 0.1)])}, 0.05),
        reliability({"a": ("k0", [(0.1, 0.2), (1e-4, 0.0), (1e-4, 2e-4)])}),
    ):
        root = ElementTree.fromstring(drawn)
        assert [each.get("class") for each in root.iter("path")].count("curve k0") == 1
        for dot in root.iter("circle"):
            assert 46 <= float(dot.get("cx", "0")) <= 346
            assert 12 <= float(dot.get("cy", "0")) <= 312


def test_names_from_files_do_not_become_markup() -> None:
    table = Table(("", "VUS-PR"), (("<b>x</b>", "0.5"),), frozenset({(0, 1)}))
    picture = FilePicture("<script>", "5 rows", table, [], [("<i>", [0.1], [])], [], [])
    part = SetPart("<u>", "one", table, table, {"<i>": [(0.0, 1.0)]}, None, {"<i>": [(0.1, 0.1)]}, [picture])
    text = html(EvaluationPage("title & more", "", [part, part]))
    assert "<script>" not in text.replace("</main><script>", "")
    for word in ("<u>", "<i>", "<b>x"):
        assert word not in text
    assert "title &amp; more" in text
    assert '<td class="best">0.5</td>' in text
