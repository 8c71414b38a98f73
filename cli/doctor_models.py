"""What ``coldaisle doctor`` looks at of trained models: which decide, and which are refused and why."""

from __future__ import annotations

from importlib.util import find_spec

from cli.settings import Settings, models_folder
from coldaisle.checkup import Finding, FindingSeverity
from models.registry import Registry


def models_can_be_loaded(settings: Settings) -> list[Finding]:
    """Look whether every stored model can be loaded; nothing at all is fine, as models are a choice."""
    registry = Registry(models_folder(settings))
    if not registry.folder.is_dir():
        return []
    entries = registry.entries()
    found = [
        Finding(f"model {one.job}", "ok", f"{one.version} decides, learnt from {len(one.card.metrics)} inputs")
        for one in entries
        if one.standing == "champion" and one.card is not None
    ]
    decides = next((one for one in entries if one.job == "forecast" and one.standing == "champion"), None)
    if decides is not None and (find_spec("torch") is None or find_spec("pytorch_forecasting") is None):
        why = f"{decides.version} decides, and needs the extra `forecast`, which is not installed here"
        found.append(
            Finding("model forecast", "warning", why, "run `make forecast`; the light forecaster goes on without")
        )
    refused = {one.path: one for one in entries if one.refused}
    for path, why in registry.refused:
        one = refused.get(path)
        severity: FindingSeverity = "error" if one is not None and one.standing == "champion" else "warning"
        part = "models" if one is None else f"model {one.job} {one.version} ({one.standing})"
        found.append(Finding(part, severity, why, _remedy(severity)))
    return found or [Finding("models", "ok", f"{registry.folder}: none decides; the ways without one do")]


def _remedy(severity: FindingSeverity) -> str:
    if severity == "error":
        return "the champion before it decides meanwhile: `coldaisle models rollback`, or train a new one"
    return "it decides nothing; train a new one with `coldaisle train`, or delete its folder"
