"""A real day of 1,691 nodes, a facility outage in it, through the whole pipeline."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli.main import main
from coldaisle.clock import SECOND, parse_rfc3339

DATA = Path(os.environ.get("COLDAISLE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
DAY = DATA / "harvard_ipmi" / "ipmi_2025-06-03_numeric.csv.gz"


@pytest.mark.real_data
@pytest.mark.integration
@pytest.mark.skipif(not DAY.is_file(), reason=f"{DAY} is not here; set COLDAISLE_DATA to the folder of published data")
def test_the_outage_is_one_incident_and_chronic_faults_one_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["--no-header", "--columns", "node,ts,sensor,value,unit,status"]
    roles = [f"--{role}-column={name}" for role, name in
             (("time", "ts"), ("node", "node"), ("metric", "sensor"), ("value", "value"), ("unit", "unit"),
              ("status", "status"))]  # fmt: skip
    assert main(["import", str(DAY), "-o", str(tmp_path / "day"), "--quiet", *columns, *roles]) == 0
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "day"), "--json"]) == 0
    incidents = json.loads(capsys.readouterr().out)["incidents"]

    assert len(incidents) < 25
    outage = [one for one in incidents if len(one["entities"]) > 1000]
    assert len(outage) == 1
    silence = parse_rfc3339("2025-06-03T02:37:01Z")
    assert silence < parse_rfc3339(outage[0]["opened_at"]) <= silence + 180 * SECOND
    assert outage[0]["severity"] == "page"
    assert "cannot tell" in outage[0]["explanation"]
    assert "801 nodes recovered" in outage[0]["explanation"]
    titles = [one["title"] for one in incidents]
    assert sum(title.startswith("Fans of node") for title in titles) == 12
    assert sum("battery" in title for title in titles) == 4
