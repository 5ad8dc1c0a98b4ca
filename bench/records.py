"""The record of one (cell, seed), and the store: one JSON file each, written whole or not at all."""

import hashlib
import itertools
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench import arithmetic
from bench.errors import BadInputError
from bench.privacy import PrivacyClaim
from bench.suite import RECOVERED_PSNR, Cell, Suite, explain

SCHEMA_VERSION = 1

PROTOCOL_VERSION = 3
"""The code version of the protocol: raised whenever the engine would give another number for the same cell."""

METRICS_VERSION = 2
"""The version of what is measured of an inversion's images, in the protocol of such cells alone.

2: SSIM in windows inside the image, scikit-image's default; 1 also took windows over mirrored borders.
"""

CODE = ("bench", "attacks", "defenses", "pyproject.toml")
"""What of a checkout can change a record's numbers: a board or a record that is made anew is no change of them."""

LONGEST_SLUG = 60
"""Characters of a row's folder; the key tells its records from those of a row with the same beginning."""

LARGEST = 10_000_000
"""Bytes that no record has: one is under ten thousand."""

ASIDE = ".damaged-"
"""Between the name of a file that was no record, where one had to be written, and a number."""

Status = Literal["ok", "diverged", "failed"]
STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Privacy(BaseModel):
    """What the paper claims for one release, what that makes over a run, and what an audit cell measured at least."""

    model_config = STRICT

    claimed: PrivacyClaim | None = None
    composed: PrivacyClaim | None = None
    audited: PrivacyClaim | None = None


class Cost(BaseModel):
    """Seconds a round (all but evaluation), bytes that one client sends a round, seconds of the whole cell."""

    model_config = STRICT

    round_seconds: float | None = None
    upload_bytes: int | None = None
    peer_bytes: int | None = None
    total_seconds: float | None = None


class Environment(BaseModel):
    """Where the record was made."""

    model_config = STRICT

    fedsiege: str
    python: str
    torch: str
    numpy: str
    machine: str
    device: str
    threads: int
    commit: str | None
    cpu: str = ""  # model and instruction set; with the versions of torch and numpy the class of the machine
    arithmetic: str = ""  # "portable", "native"; empty in records from before
    scipy: str = ""


class ByzantineCount(BaseModel):
    """How many clients of a cell were Byzantine, and in how many rounds more of them, or none, were in the sample."""

    model_config = STRICT

    clients: int  # of all
    most: int  # in one round
    beyond_f: int  # rounds that held more than f, the number that defenses are told to assume
    absent: int  # rounds that held none


class Record(BaseModel):
    """One (cell, seed), as the design lays it down."""

    model_config = STRICT

    schema_version: int = SCHEMA_VERSION
    suite: str
    protocol: str  # hash over everything that can change the numbers
    data_digest: str
    setting: str  # hash over the part of it that all cells of one board share
    cell: Cell
    seed: int
    status: Status
    error: str | None = None
    metrics: dict[str, float] = {}
    curve: list[tuple[int, float]] = []  # (round, accuracy on the test split)
    trace: list[float] = []  # a privacy attack's own loss, median over its targets, thinned out evenly
    psnr: list[float] = []  # of an inversion, image by image in the order of its picture, in dB
    control_psnr: list[float] = []  # the same without a defense
    privacy: Privacy = Privacy()
    derived: dict[str, float] = {}  # what the defense worked out: sigma_k, v, ...
    within_claim: bool | None = None  # whether the defense itself claims to stand the Byzantine clients of every round
    byzantine: ByzantineCount | None = None  # None where nobody attacks, and in records from before it was counted
    cost: Cost = Cost()
    environment: Environment
    files: dict[str, str] = {}  # names of the images and arrays beside the record
    finished_at: datetime

    @property
    def key(self) -> str:
        return record_key(self.cell, self.seed)


def record_key(cell: Cell, seed: int) -> str:
    """The record's file name without its ending."""
    return f"{cell.hash}-s{seed}"


def digest(*content: object) -> str:
    """16 hexadecimal digits that stand for JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def protocol_hash(cell: Cell, data_digest: str, recovered_psnr: float = RECOVERED_PSNR) -> str:
    """Over everything that can change a cell's numbers: the cell, the data, the code version of the protocol.

    In a privacy cell also the version of its metrics, and the score from which an image counts as recovered, where it
    is not the usual one.
    """
    measured = [{"metrics": METRICS_VERSION}] if cell.is_privacy else []
    scored = [recovered_psnr] if cell.is_privacy and recovered_psnr != RECOVERED_PSNR else []
    return digest(cell.content, data_digest, PROTOCOL_VERSION, *measured, *scored)


def setting_hash(suite: Suite, data_digest: str) -> str:
    """Over what all cells of a board must share to stand side by side."""
    return digest(suite.setting_content(), data_digest, PROTOCOL_VERSION)


def environment(device: str, threads: int) -> Environment:
    """The machine and the versions at hand."""
    return Environment(
        fedsiege=version("fedsiege"),
        python=platform.python_version(),
        torch=version("torch"),
        numpy=version("numpy"),
        machine=platform.machine(),
        device=device,
        threads=threads,
        commit=_git_commit(),
        cpu=_cpu(),
        arithmetic=arithmetic.current(),
        scipy=version("scipy"),
    )


@cache
def _cpu() -> str:
    """The CPU's model, as far as the system names it, and the widest instructions that torch uses on it."""
    import torch  # here, because reading records needs none of it

    return f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_model() -> str:
    """Name, family, model and stepping: a virtual machine's name alone may stand for several generations."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    numbers = "-".join(facts[key] for key in ("cpu family", "model", "stepping") if key in facts)
    return " ".join(part for part in (facts.get("model name", platform.machine()), numbers) if part)


@cache
def _git_commit() -> str | None:
    """The checkout's commit, `-dirty` where its code has changes; None outside a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)

    try:
        commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    except OSError:  # a machine without git
        return None
    changed = git("diff", "--quiet", "HEAD", "--", *CODE).returncode != 0
    return f"{commit}{'-dirty' if changed else ''}" if commit else None


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Store:
    """The records of one suite below `results/<suite>/`."""

    def __init__(self, results: Path, suite: str) -> None:
        self.folder = results / suite

    def path(self, cell: Cell, seed: int) -> Path:
        return self.folder / _slug(cell.label) / cell.attack_name / f"{record_key(cell, seed)}.json"

    def lock_path(self, cell: Cell, seed: int) -> Path:
        """The file that a run locks while it plays the cell."""
        return self.path(cell, seed).with_name(f".{record_key(cell, seed)}.lock")

    def write(self, record: Record) -> Path:
        """Write the record whole or not at all; a file in its place that holds none is kept under another name."""
        path = self.path(record.cell, record.seed)
        _set_aside(path)
        write_whole(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def lock_files(self) -> list[Path]:
        """Those of runs that are under way, and of runs that were killed."""
        return sorted(self.folder.glob("*/*/.*.lock"))

    def clear_leftovers(self, lock: Path) -> None:
        """Remove what writes that broke off left of a cell; only for whoever holds this lock of it."""
        for path in lock.parent.glob(f"{lock.stem}.*"):
            if path != lock:
                path.unlink(missing_ok=True)

    def find(self, cell: Cell, seed: int, protocol: str) -> Record | None:
        """The finished record of this cell and seed under this protocol, if there is one.

        Raises `BadInputError` for a record from a newer schema: nobody is to write an older one over it.
        """
        path = self.path(cell, seed)
        if not path.exists():
            return None
        try:
            record = read(path)
        except NewerRecordError:
            raise
        except BadInputError:
            return None
        return record if record.protocol == protocol else None

    def records(self, damaged: list[str]) -> Iterator[Record]:
        """All readable records; one line about each file that is not one is added to `damaged`."""
        for path in sorted(self.folder.glob("*/*/*.json")):
            try:
                yield read(path)
            except BadInputError as error:
                damaged.append(str(error))
        for path in sorted(self.folder.glob(f"*/*/*{ASIDE}*")):
            damaged.append(f"{path} is not a record; it was set aside when its cell was recorded anew")


class NewerRecordError(BadInputError):
    """A record of a schema that this version does not know."""


def _set_aside(path: Path) -> None:
    """Rename what lies there and is no record, so that nothing is lost by writing one."""
    try:
        read(path)
    except BadInputError:
        if os.path.lexists(path):
            names = (path.with_name(f"{path.name}{ASIDE}{count}") for count in itertools.count(1))
            path.rename(next(name for name in names if not os.path.lexists(name)))


def read(path: Path) -> Record:
    """The record in a file; `BadInputError` with one line where it holds none."""
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"cannot read record {path}: not a regular file")  # a pipe would wait for ever
        if (size := path.stat().st_size) > LARGEST:
            raise BadInputError(f"{path} is not a record: it has {size:,} bytes, and a record less than {LARGEST:,}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"cannot read record {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"cannot read record {path}: {error}") from None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is not a record: invalid JSON in line {error.lineno}") from None
    except (ValueError, RecursionError):
        raise BadInputError(f"{path} is not a record: its JSON has a number too long or is nested too deeply") from None
    written = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(written, int | float) and written > SCHEMA_VERSION:
        raise NewerRecordError(
            f"{path} has schema version {written}; this fedsiege reads up to {SCHEMA_VERSION}: upgrade it"
        )
    try:
        return Record.model_validate(found)
    except ValidationError as error:
        raise BadInputError(f"{path} is not a record: {explain(error).split('; ')[0]}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, never a part: temporary file, fsync, rename.

    When it returns, the new content is there after a power failure too. A device or a pipe is written to, not replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _slug(label: str) -> str:
    """A folder name from a row's label."""
    kept = "".join(char if char.isalnum() or char in "._-=" else "-" for char in label)
    return "-".join(part for part in kept.split("-") if part.strip("."))[:LONGEST_SLUG] or "row"
