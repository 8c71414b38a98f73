"""The marks of anomaly detection, which `coldaisle evaluate` and the benchmarks share."""

from __future__ import annotations

from models.marks import Alarms, alarms, auc_pr, event_f1, oracle_event_f1, spans, vus_pr

__all__ = ["Alarms", "alarms", "auc_pr", "event_f1", "oracle_event_f1", "spans", "vus_pr"]
