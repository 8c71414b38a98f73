"""A stored model: weights as safetensors, a strict card as JSON, a page for people, whole or refused."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import ConfigDict, ValidationError

from coldaisle.clock import SECOND, rfc3339
from coldaisle.config import Section
from coldaisle.errors import ConfigError
from models.model_card import describe

FORMAT = 1
"""Of the folder and of model.json, not of what a kind of model keeps in its parameters."""
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "model.json"
PAGE_FILE = "MODEL_CARD.md"

MOST_WEIGHTS_BYTES = 1 << 29
"""A forest of 100 trees has half a megabyte, the largest forecaster here a few; half a gigabyte is a mistake."""
MOST_CARD_BYTES = 16 << 20
"""The parameters of a forecaster name every series it learnt from: some hundred bytes each."""
MOST_HEADER_BYTES = 8 << 20
MOST_ARRAYS = 20_000
MOST_DIMENSIONS = 8
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of a kind and of a version, since both become names of folders."""

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "u2", "I16": "i2", "U32": "u4", "I32": "i4", "U64": "u8", "I64": "i8",
    "F16": "f2", "F32": "f4", "F64": "f8",
}  # fmt: skip
_KINDS = "biuf"
_LENGTH = 8  # a safetensors file begins with the length of its header, little-endian
_AGAIN = "train it again with `coldaisle train`, or go back with `coldaisle models rollback`"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Card:
    """
    What is known of a stored model beside its weights.

    ``kind`` says which code reads it (``isolation_forest``, ``nhits``, ``tft``), ``version`` is its own name, times
    are Unix ns, ``metrics`` are its inputs in order, ``parameters`` is plain JSON and all that rebuilding needs, and
    ``scores`` were measured on later data than it learnt from.
    """

    kind: str
    version: str
    created_at: int
    data_from: int
    data_to: int
    metrics: tuple[str, ...]
    parameters: Mapping[str, Any]
    scores: Mapping[str, float]
    seed: int


class _Weights(Section):
    """What the weights' file must be."""

    model_config = ConfigDict(strict=True)

    bytes: int
    sha256: str


class _Document(Section):
    """``model.json`` as it stands in the folder."""

    model_config = ConfigDict(strict=True)

    format: int
    kind: str
    version: str
    created_at: int
    data_from: int
    data_to: int
    metrics: list[str]
    parameters: dict[str, Any]
    scores: dict[str, float]
    seed: int
    weights: _Weights
    sha256: str  # of everything else in this file


def version_of(created_at: int, arrays: Arrays) -> str:
    """Return a name for a model made at ``created_at`` (Unix ns): the second, and four digits of what it weighs."""
    digest = sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    moment = rfc3339(created_at - created_at % SECOND).removesuffix("Z").replace(":", "-")
    return f"{moment}Z-{digest.hexdigest()[:4]}"


def save(folder: Path, card: Card, arrays: Arrays) -> None:
    """
    Write a model as ``folder``: it appears whole or not at all, and is never written over.

    Arrays are booleans, integers or floats; numbers that are not finite are no weights. Raises ValueError where the
    card or an array cannot be stored, ConfigError where the folder is there already or cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS or array.dtype.str[1:] not in {"b1", *_DTYPES.values()}:
            raise ValueError(f"{name}: arrays of {array.dtype} cannot be stored")
        if not _finite(array):
            raise ValueError(f"{name}: holds a number that is not finite")
    data = safetensors.numpy.save({name: np.array(array, order="C") for name, array in arrays.items()})
    document = _document(card, data)
    pages = {WEIGHTS_FILE: data, CARD_FILE: document, PAGE_FILE: describe(**asdict(card)).encode()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            for name, content in pages.items():
                with (beside / name).open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            beside.chmod(0o755)  # mkdtemp makes it for one user only; scoring may run as another
            if folder.exists():
                raise ConfigError(f"{folder}: a model is already there; choose another version")
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        _sync(folder.parent)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); free space or choose another") from error


def read_card(folder: Path) -> Card:
    """Return the card of a stored model without its weights. Raises ConfigError that names the file and the remedy."""
    return _card(_read_document(folder))


def load(folder: Path, kind: str, metrics: tuple[str, ...] | None = None) -> tuple[Card, dict[str, NDArray[Any]]]:
    """
    Return a stored model: its card, and its arrays by name, writable and of the caller's own.

    Nothing is run that stands in the folder, and nothing is allocated before its size is known. Raises ConfigError,
    naming the file and the remedy, where it is missing, corrupt, truncated, changed since it was written, from a newer
    version, of another ``kind``, or of other ``metrics`` than these (None = any), or where a weight is not a number.
    """
    document = _read_document(folder)
    if document.kind != kind:
        raise ConfigError(f"{folder}: is a model of kind {document.kind!r}, not {kind!r}; name a folder of that kind")
    if metrics is not None and tuple(document.metrics) != metrics:
        raise ConfigError(f"{folder}: learnt {_difference(document.metrics, metrics)}; train it again on these metrics")
    path = folder / WEIGHTS_FILE
    data = _bytes_of(path, MOST_WEIGHTS_BYTES)
    if len(data) != document.weights.bytes:
        raise ConfigError(f"{path}: has {len(data)} bytes, its card says {document.weights.bytes}; {_AGAIN}")
    if sha256(data).hexdigest() != document.weights.sha256:
        raise ConfigError(f"{path}: is not what was saved (its SHA-256 differs from the card's); {_AGAIN}")
    _check_header(path, data)
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: is not safetensors ({error}); {_AGAIN}") from error
    for name, array in arrays.items():
        if not _finite(array):
            raise ConfigError(f"{path}: weight {name!r} holds a number that is not finite; {_AGAIN}")
    return _card(document), arrays


def _finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _document(card: Card, data: bytes) -> bytes:
    for word in (card.kind, card.version):
        if not NAME.fullmatch(word):
            raise ValueError(f"{word!r} cannot name a folder: use letters, digits, '.', '_' and '-'")
    for name, score in card.scores.items():
        if not math.isfinite(score):
            raise ValueError(f"score {name!r} is {score}: leave out what could not be measured")
    told: dict[str, Any] = {"format": FORMAT, **asdict(card), "metrics": list(card.metrics)}
    told["parameters"], told["scores"] = dict(card.parameters), {key: float(each) for key, each in card.scores.items()}
    told["weights"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    told["sha256"] = _checksum(told)
    return (json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _checksum(told: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in told.items() if key != "sha256"}
    return sha256(json.dumps(rest, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()).hexdigest()


def _read_document(folder: Path) -> _Document:
    path = folder / CARD_FILE
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such model; `coldaisle models list` names those that are there")
    try:
        told = json.loads(_bytes_of(path, MOST_CARD_BYTES).decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error}); {_AGAIN}") from error
    if not isinstance(told, dict):
        raise ConfigError(f"{path}: is not a JSON object; {_AGAIN}")
    format_ = told.get("format")
    if isinstance(format_, int) and format_ > FORMAT:
        raise ConfigError(
            f"{path}: was written by a newer Coldaisle (format {format_}, this one reads {FORMAT}); upgrade"
        )
    try:
        document = _Document.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}; {_AGAIN}") from error
    try:
        intact = _checksum(told) == document.sha256
    except ValueError:  # NaN stands in it, which JSON does not know
        intact = False
    if not intact or document.format != FORMAT:
        raise ConfigError(f"{path}: is not what was saved (its own SHA-256 differs); {_AGAIN}")
    return document


def _card(document: _Document) -> Card:
    values = document.model_dump(exclude={"format", "weights", "sha256"})
    return Card(**{**values, "metrics": tuple(document.metrics)})


def _bytes_of(path: Path, most: int) -> bytes:
    """Return what a plain file holds, never more than ``most`` bytes."""
    try:
        told = path.stat()
        if not stat.S_ISREG(told.st_mode):
            raise ConfigError(f"{path}: is not a file; {_AGAIN}")
        if told.st_size > most:
            raise ConfigError(f"{path}: has {told.st_size} bytes, more than a model may ({most}); {_AGAIN}")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; {_AGAIN}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from error
    return data


def _check_header(path: Path, data: bytes) -> None:
    """Refuse arrays whose stated shape is not what the file holds, before anything is made of them."""
    if len(data) < _LENGTH:
        raise ConfigError(f"{path}: is cut short; {_AGAIN}")
    length = int.from_bytes(data[:_LENGTH], "little")
    if length > min(MOST_HEADER_BYTES, len(data) - _LENGTH):
        raise ConfigError(f"{path}: its header claims {length} bytes; {_AGAIN}")
    try:
        header = json.loads(data[_LENGTH : _LENGTH + length])
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: its header is not JSON; {_AGAIN}") from error
    if not isinstance(header, dict) or len(header) > MOST_ARRAYS:
        raise ConfigError(f"{path}: its header names no or too many arrays; {_AGAIN}")
    for name, told in header.items():
        if name != "__metadata__" and not _is_possible(told, len(data) - _LENGTH - length):
            raise ConfigError(f"{path}: the shape of weight {name!r} is not what the file holds; {_AGAIN}")


def _is_possible(told: Any, room: int) -> bool:
    if not isinstance(told, dict) or told.get("dtype") not in _DTYPES:
        return False
    shape, offsets = told.get("shape"), told.get("data_offsets")
    if (
        not isinstance(shape, list)
        or len(shape) > MOST_DIMENSIONS
        or not isinstance(offsets, list)
        or len(offsets) != 2
    ):
        return False
    if not all(type(each) is int and 0 <= each <= MOST_WEIGHTS_BYTES for each in (*shape, *offsets)):
        return False
    needed = math.prod(shape) * np.dtype(_DTYPES[told["dtype"]]).itemsize
    return bool(offsets[0] + needed == offsets[1] <= room)


def _difference(have: list[str], want: tuple[str, ...]) -> str:
    lacks = [name for name in want if name not in have]
    strange = [name for name in have if name not in want]
    if lacks:
        return f"no metric {lacks[0]!r}"
    if strange:
        return f"from {strange[0]!r}, which is not there"
    return "the same metrics in another order"


def _sync(folder: Path) -> None:
    """Let the new name survive a power cut."""
    with suppress(OSError):  # some network file systems know no such thing; the files themselves are synced
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
