"""N-HiTS and TFT of pytorch-forecasting: trained over many series at once, kept as plain arrays, served in batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError, Permanent
from coldaisle.expected import LEVELS
from models.artefact import Card, version_of
from models.forecast.windows import (
    CLUES,
    USUAL_CLUES,
    Table,
    Usual,
    Windows,
    clues_of,
    drawn,
    filled,
    has_calendar,
    scaling_of,
    usable,
    usual_of,
    windows_at,
)

Floats = NDArray[np.float64]
Progress = Callable[[int, int, float], None]
"""Told (batches done, batches in all, loss of the last) now and then."""

KINDS = ("nhits", "tft")
SIZES: Mapping[str, Mapping[str, int]] = {
    "nhits": {"hidden_size": 64},
    "tft": {"hidden_size": 16, "attention_head_size": 2, "hidden_continuous_size": 8},
}
LEARNING_RATES = {"nhits": 2e-3, "tft": 5e-3}
BATCH = 128
SERVED = 1024
"""Series put through the network at a time."""
CALIBRATION = 4096
"""Later windows by which bands are set right; more say nothing new."""
SHIFT = "calibration.shift"
"""The array that holds by how much each quantile is moved [horizon, LEVELS], scaled."""


def train_neural(
    kind: str,
    table: Table,
    horizon: int,
    encoder: int,
    *,
    seed: int,
    created_at: int,
    metrics: tuple[str, ...] = (),
    batches: int = 400,
    calibration: Table | None = None,
    progress: Progress | None = None,
) -> tuple[Card, dict[str, NDArray[Any]]]:
    """
    Train a network of ``kind`` on ``table``; return its card, without scores, and its weights.

    ``encoder`` steps of past foretell ``horizon`` steps; ``batches`` of :data:`BATCH` windows are drawn by ``seed``,
    which decides the result. Where ``calibration`` (later than ``table``) is given, each quantile is then moved to
    where that share of it lay below (split conformal, Vovk 2005; Romano, Patterson and Candes 2019). ``created_at`` is
    in Unix ns. Raises ConfigError where torch is not installed, the kind is unknown or the table is too short;
    Permanent where training went astray.
    """
    if kind not in KINDS:
        raise ConfigError(f"forecast: no kind of network is called {kind!r}; there are {', '.join(KINDS)}")
    parameters = {
        "encoder": encoder, "horizon": horizon, "step_seconds": table.step_seconds, "levels": list(LEVELS),
        "calendar": has_calendar(table), "clues": list(CLUES), "series": len(table.values), "batches": batches,
        "sizes": dict(SIZES[kind]),
    }  # fmt: skip
    random = np.random.default_rng(seed)
    source = drawn(table, encoder, horizon, BATCH, batches, random)
    with _quiet(kind, seed):
        network = _network(kind, parameters)
        _fit(network, source, batches, progress)
        arrays = {name: np.array(value.detach().numpy()) for name, value in network.state_dict().items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise Permanent(f"forecast: training {kind} went astray (weights that are no numbers); use another seed")
        arrays[SHIFT] = np.zeros((horizon, len(LEVELS)), np.float32)
        if calibration is not None:
            arrays[SHIFT] = _shifts(network, parameters, calibration, usual_of(table.values), random)
    last = table if calibration is None else calibration
    card = Card(
        kind, version_of(created_at, arrays), created_at, int(table.times[0]), int(last.times[-1]), metrics, parameters,
        {}, seed,
    )  # fmt: skip
    return card, arrays


class Forecaster:
    """A trained network, ready to serve; needs torch, one thread and some megabytes."""

    def __init__(self, card: Card, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Rebuild the network. Raises ConfigError where torch is missing or card and weights do not fit this code."""
        try:
            self.encoder, self.horizon = int(card.parameters["encoder"]), int(card.parameters["horizon"])
            self.step_seconds = float(card.parameters["step_seconds"])
            self._calendar = bool(card.parameters["calendar"])
            known = (tuple(card.parameters["levels"]), tuple(card.parameters["clues"])) == (LEVELS, CLUES)
            self._shift = np.asarray(arrays[SHIFT], np.float64).reshape(self.horizon, len(LEVELS))
            if card.kind not in KINDS or not known:
                raise ValueError("other levels or clues")
            with _quiet(card.kind, card.seed) as torch:
                self._network = _network(card.kind, card.parameters)
                weights = {name: torch.tensor(array) for name, array in arrays.items() if name != SHIFT}
                self._network.load_state_dict(weights)
                self._network.eval()
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(
                f"forecast: model {card.version} ({card.kind}) does not fit this programme ({text}); "
                "train it again with `coldaisle train`"
            ) from error
        self.card = card

    def predict(self, history: Floats, last: NDArray[np.int64] | int, usual: Usual | None = None) -> Floats:
        """
        Return quantiles [series, horizon, LEVELS] after ``history`` [series, encoder]; metric's unit.

        ``last`` is the time of the last step (Unix ns), one or one a series. ``usual`` [series] is
        :func:`models.forecast.windows.usual_of` a longer past, where known. NaN for a series of which half
        the history or more is missing, or the last step.
        """
        history = history[:, history.shape[1] - self.encoder :]
        seen = np.isfinite(history)
        rows = np.flatnonzero((seen.mean(axis=1) >= 0.5) & seen[:, -1])
        quantiles = np.full((len(history), self.horizon, len(LEVELS)), np.nan)
        moments = np.broadcast_to(np.asarray(last, np.int64), (len(history),))
        for at in range(0, len(rows), SERVED):
            some = rows[at : at + SERVED]
            past = filled(history[some])
            mine = usual_of(past) if usual is None else usual.of(some)
            scaling = scaling_of(past, mine)
            step_ns = round(self.step_seconds * SECOND)
            clues = clues_of(moments[some], step_ns, past, self.horizon, self._calendar, scaling, mine)
            windows = Windows(scaling.there(past), np.zeros((len(some), self.horizon)), clues, scaling)
            scaled = np.sort(_ask(self._network, windows) + self._shift, axis=2)
            quantiles[some] = scaling.back(scaled)
        return quantiles


def _network(kind: str, parameters: Mapping[str, Any]) -> Any:
    from pytorch_forecasting import NHiTS, TemporalFusionTransformer  # noqa: PLC0415 - seconds and hundreds of MB
    from pytorch_forecasting.metrics import QuantileLoss  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    clues = list(parameters["clues"])
    shared: dict[str, Any] = {
        "output_size": len(LEVELS), "loss": QuantileLoss(list(LEVELS)), "logging_metrics": nn.ModuleList([]),
        "x_reals": ["value", *clues], "x_categoricals": [], "static_categoricals": [], "static_reals": [],
        "time_varying_categoricals_encoder": [], "time_varying_categoricals_decoder": [], "categorical_groups": {},
        "time_varying_reals_encoder": ["value", *clues], "time_varying_reals_decoder": clues, "embedding_sizes": {},
        "embedding_paddings": [], "embedding_labels": {}, "dataset_parameters": {"target": "value"},
        "learning_rate": LEARNING_RATES[kind], "log_interval": -1, "optimizer": "adam",
        "output_transformer": _unscaled, **parameters["sizes"],
    }  # fmt: skip
    encoder, horizon = int(parameters["encoder"]), int(parameters["horizon"])
    if kind == "nhits":
        # A stack flattens all that it is given: clues of the past would cost much and say what those of the future say.
        shared["time_varying_reals_encoder"] = ["value"]
        return NHiTS(context_length=encoder, prediction_length=horizon, weight_decay=1e-4, **shared)
    # Where a series usually is does not change over a window: a static says so once.
    shared["static_reals"] = [name for name in clues if name in USUAL_CLUES]
    shared["time_varying_reals_decoder"] = [name for name in clues if name not in USUAL_CLUES]
    shared["time_varying_reals_encoder"] = ["value", *shared["time_varying_reals_decoder"]]
    return TemporalFusionTransformer(max_encoder_length=encoder, dropout=0.1, **shared)


def _unscaled(out: Mapping[str, Any]) -> Any:
    """Leave what the network says as it is: windows are scaled before they reach it."""
    return out["prediction"]


def _input(windows: Windows) -> dict[str, Any]:
    import torch  # noqa: PLC0415

    past, future = windows.past, windows.future
    count, encoder = past.shape
    values = np.concatenate([past, np.zeros_like(future)], axis=1)[:, :, None]
    reals = torch.from_numpy(np.concatenate([values, windows.clues], axis=2).astype(np.float32))
    nothing = torch.zeros(count, reals.shape[1], 0, dtype=torch.long)
    return {
        "encoder_cont": reals[:, :encoder], "decoder_cont": reals[:, encoder:],
        "encoder_cat": nothing[:, :encoder], "decoder_cat": nothing[:, encoder:],
        "encoder_lengths": torch.full((count,), encoder), "decoder_lengths": torch.full((count,), future.shape[1]),
        "encoder_target": reals[:, :encoder, 0], "decoder_target": reals[:, encoder:, 0],
        "target_scale": torch.tensor([[0.0, 1.0]]).repeat(count, 1),
    }  # fmt: skip


def _ask(network: Any, windows: Windows) -> Floats:
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        return np.asarray(network(_input(windows))["prediction"].numpy(), np.float64)


def _fit(network: Any, source: Iterator[Windows], batches: int, progress: Progress | None) -> None:
    import torch  # noqa: PLC0415
    from lightning.pytorch import Callback, Trainer  # noqa: PLC0415

    class Batches(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            for windows in source:
                known = np.isfinite(windows.future)
                truth = torch.from_numpy(np.where(known, windows.future, 0.0).astype(np.float32))
                yield _input(windows), (truth, torch.from_numpy(known.astype(np.float32)))

    class Told(Callback):  # type: ignore[misc]
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, done: int) -> None:
            # Warm up, then fall as half a cosine: the last batches settle what the first ones found.
            share = (done + 1) / batches
            rate = min(share / 0.05, 1.0) * 0.5 * (1.0 + np.cos(np.pi * share)) + 0.01
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = float(module.hparams.learning_rate * rate)

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, done: int) -> None:
            if progress is not None and (done % 20 == 19 or done + 1 == batches):
                progress(done + 1, batches, float(outputs["loss"]))

    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=1, max_steps=batches, gradient_clip_val=0.5, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[Told()],
    )  # fmt: skip
    trainer.fit(network, torch.utils.data.DataLoader(Batches(), batch_size=None))
    network.eval()


def _shifts(
    network: Any, parameters: Mapping[str, Any], later: Table, usual: Usual, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return by how much each quantile must move for its share of what came later to lie below it."""
    encoder, horizon, calendar = parameters["encoder"], parameters["horizon"], parameters["calendar"]
    good = np.flatnonzero(usable(later, encoder, horizon))
    if len(good) < 100:
        raise ConfigError(
            f"forecast: {len(good)} windows of later data are too few to set bands right; give more history"
        )
    picked = np.sort(random.choice(good, min(CALIBRATION, len(good)), replace=False))
    errors = []
    for at in range(0, len(picked), SERVED):
        series, origins = np.divmod(picked[at : at + SERVED], later.values.shape[1])
        windows = windows_at(later, series, origins, encoder, horizon, usual, calendar)
        errors.append(windows.future[:, :, None] - _ask(network, windows))
    missed = np.concatenate(errors)
    shifts = [np.nanquantile(missed[:, :, at], level, axis=0) for at, level in enumerate(LEVELS)]
    return np.stack(shifts, axis=1).astype(np.float32)


@contextmanager
def _quiet(kind: str, seed: int) -> Iterator[Any]:
    """Give torch, on one thread and with ``seed``, and keep its advice and warnings out of our own output."""
    import logging  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import lightning.pytorch  # noqa: F401, PLC0415
            import pytorch_forecasting  # noqa: F401, PLC0415
            import torch  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(f"forecast: {kind} needs torch ({error}); install it with `make forecast`") from error
        for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # More threads than free cores make it many times slower.
        torch.set_num_threads(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield torch
