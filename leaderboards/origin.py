"""Which records nobody can hold to their bits: of another arithmetic than the portable one, or of a GPU."""

from collections import Counter
from collections.abc import Iterator, Sequence

from bench.base.arithmetic import PORTABLE
from bench.base.device import CPU
from bench.records import Record
from bench.records.folder import mixed_devices
from leaderboards.frame import listed

UNREPEATABLE = "made under another arithmetic"


def notes_on_origin(row: str, records: Sequence[Record]) -> Iterator[str]:
    """The flags of a row; records from before the arithmetic was named are told together, by `unnamed`."""
    mine = [record.environment for record in records if record.cell.label == row]
    others = Counter(one.arithmetic for one in mine if one.arithmetic not in ("", PORTABLE))
    for arithmetic, count in others.items():
        yield f"{count} of {len(mine)} records {UNREPEATABLE} ({arithmetic}): cannot be replayed bit for bit"
    if told := mixed_devices([record for record in records if record.cell.label == row]):
        yield f"{told}: a CPU replays none but its own"
    elif mine and mine[0].device != CPU and mixed_devices(records):
        yield f"made on another device than other rows, {mine[0].device}: a CPU cannot replay it"


def unnamed(records: Sequence[Record]) -> list[str]:
    """One line about all records from before the arithmetic was named, and their rows; nothing where there are none."""
    rows = Counter(record.cell.label for record in records if not record.environment.arithmetic)
    if not rows:
        return []
    count = f"{rows.total()} of {len(records)} records {UNREPEATABLE} (from before records named it)"
    return [f"{count}: cannot be replayed bit for bit; rows: {listed(rows)}"]
