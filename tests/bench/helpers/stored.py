"""What two runs must have in common: their records but for times, and the pictures beside them."""

from typing import Any

from bench.records import Record, Store


def but_for_times(record: Record) -> dict[str, Any]:
    """All of a record that must not depend on when it was made; a checkout's commit may change from test to test."""
    content = record.model_dump(exclude={"finished_at": True, "environment": {"commit"}})
    content["cost"] = {name: value for name, value in content["cost"].items() if not name.endswith("seconds")}
    return content


def contents(store: Store) -> dict[str, Any]:
    """What a store holds by file name: records but for times, and their pictures; nothing may be damaged."""
    damaged: list[str] = []
    found: dict[str, Any] = {record.key: but_for_times(record) for record in store.records(damaged)}
    assert damaged == []
    return found | {path.name: path.read_bytes() for path in store.folder.glob("*/*/*.png")}
