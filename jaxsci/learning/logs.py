"""Files that a fit writes while it goes on: lines of CSV or JSON, and TensorBoard's event files."""

from __future__ import annotations

import csv
import functools
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

from jaxsci.learning.progress import Event


class CsvLog:
    """A CSV file with a line per event: optimiser, where, step, seconds, residual and its parts.

    Args:
      path: continued where it is there.
    Raises:
      ValueError: the file there has other columns.
    Example:
      >>> import jaxsci as js, pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "fit.csv"
      >>> log = js.learning.CsvLog(path)
      >>> log.record(js.learning.Event("FirstOrder", 100, 1000, 0.5, {"equation": 0.5}, 2.0, 58.0))
      >>> path.read_text().splitlines()[1]
      'FirstOrder,,100,2.0,0.5,0.5'
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def record(self, event: Event) -> None:
        """Write one line."""
        line = _row(event)
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        if not is_new:
            with self.path.open(newline="") as file:
                columns = next(csv.reader(file))
            if columns != list(line):
                raise ValueError(
                    f"CsvLog: {self.path} has the columns {columns}, and this fit has {list(line)}; give another path."
                )
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, line, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(line)

    def __call__(self, text: str) -> None:
        """A line of text has no columns."""


class JsonLog:
    """A file with one JSON object per line and event.

    Args:
      path: continued where it is there.
    Example:
      >>> import jaxsci as js, json, pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "fit.jsonl"
      >>> log = js.learning.JsonLog(path)
      >>> log.record(js.learning.Event("FirstOrder", 100, 1000, 0.5, {"equation": 0.5}, 2.0, 58.0))
      >>> json.loads(path.read_text())["residual"]
      0.5
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def record(self, event: Event) -> None:
        """Write one line."""
        self._write(_row(event))

    def __call__(self, text: str) -> None:
        """A line of text from what is no fit of a network."""
        self._write({"text": text})

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class TensorBoardLog:
    """An event file that TensorBoard reads: the scalars "residual", "steps per second" and one per part.

    Steps of optimisers, windows and stages that follow one another are counted on.

    Args:
      folder: what ``tensorboard --logdir`` is given; every log is a file of its own in it.
    Reference: the TFRecord framing (length, masked CRC-32C, data, masked CRC-32C) and `tensorboard/compat/proto/event.proto`.
    Example:
      >>> import jaxsci as js, pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> log = js.learning.TensorBoardLog(folder)
      >>> log.record(js.learning.Event("FirstOrder", 100, 1000, 0.5, {"equation": 0.5}, 2.0, 58.0))
      >>> [path.name.split(".")[:3] for path in folder.iterdir()]
      [['events', 'out', 'tfevents']]
    """

    def __init__(self, folder: str | os.PathLike[str]):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        self.path = folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}.{number}"
        self._before, self._leg, self._last = 0, ("", ""), 0
        self.path.write_bytes(_framed(_double(1, time.time()) + _text(3, "brain.Event:2")))

    def record(self, event: Event) -> None:
        """Write the scalars of one event."""
        leg = (event.optimiser, event.where)
        if leg != self._leg or event.step < self._last:
            self._before, self._leg = self._before + self._last, leg
        self._last = event.step
        scalars = {"residual": event.residual, "steps per second": event.rate}
        scalars |= {f"parts/{name}": value for name, value in event.parts.items()}
        summary = b"".join(_bytes(1, _text(1, tag) + _float(2, value)) for tag, value in scalars.items())
        step = _varint(2 << 3) + _varint(self._before + event.step)
        with self.path.open("ab") as file:
            file.write(_framed(_double(1, time.time()) + step + _bytes(5, summary)))

    def __call__(self, text: str) -> None:
        """A line of text has no scalars."""


class Together:
    """Several loggers as one, ``Together(ProgressBar(), CsvLog("fit.csv"))``.

    Args:
      *loggers: loggers, or functions of a text.
    Example:
      >>> import jaxsci as js
      >>> lines = []
      >>> js.learning.Together(lines.append, print)("a line")
      a line
    """

    def __init__(self, *loggers: Any):
        self.loggers = loggers

    def record(self, event: Event) -> None:
        """Tell all of them."""
        for logger in self.loggers:
            getattr(logger, "record", lambda event, logger=logger: logger(str(event)))(event)

    def __call__(self, text: str) -> None:
        """Tell all of them."""
        for logger in self.loggers:
            logger(text)


def _row(event: Event) -> dict[str, Any]:
    numbers = {"step": event.step, "seconds": round(event.seconds, 3), "residual": event.residual}
    return {"optimiser": event.optimiser, "where": event.where} | numbers | dict(event.parts)


# --- event files: Protocol Buffers by hand, of which they need five kinds of field -----------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The CRC of Castagnoli, by a table. Reference: RFC 3720, appendix B.4."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)
