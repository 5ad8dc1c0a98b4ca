"""Records of cells and seeds: what they hold, what they are the records of, and the files that they lie in."""

from bench.records.folder import ASIDE, Contents, contents
from bench.records.identity import PROTOCOL_VERSION, PUBLIC, World, protocol_hash, record_key, setting_hash
from bench.records.provenance import Environment, environment, now
from bench.records.reading import NewerRecordError, read
from bench.records.record import ByzantineCount, Cost, Privacy, Record, Rehearsal, Siege, SingledOut, Status
from bench.records.store import Store

__all__ = [
    "ASIDE",
    "PROTOCOL_VERSION",
    "PUBLIC",
    "ByzantineCount",
    "Contents",
    "Cost",
    "Environment",
    "NewerRecordError",
    "Privacy",
    "Record",
    "Rehearsal",
    "Siege",
    "SingledOut",
    "Status",
    "Store",
    "World",
    "contents",
    "environment",
    "now",
    "protocol_hash",
    "read",
    "record_key",
    "setting_hash",
]
