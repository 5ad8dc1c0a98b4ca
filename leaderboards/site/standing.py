"""Where a defense stands on every board, and whom an attack breaks, in words and with the worst first."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.base.names import counted, plain
from leaderboards.audits import find_audits
from leaderboards.board import Leaderboard
from leaderboards.decision import METRICS, NAMED, Measured
from leaderboards.estimates import Estimate
from leaderboards.html.leads import estimates_of
from leaderboards.overall import BACKDOOR_SHARE, BROKEN_SHARE, LEAKING_SHARE
from leaderboards.run_audits import find_run_audits


@dataclass(frozen=True)
class Published:
    """A suite's leaderboard, and the same read for decisions, as it stands and at the levels of its factors."""

    leaderboard: Leaderboard
    measured: Measured
    levels: Sequence[Measured] = ()

    @property
    def suite(self) -> str:
        return self.leaderboard.suite

    def text(self, board: str, row: str) -> str:
        """What stands beside a row on a ranked board, with its rank: `3 (44%)`."""
        result = next((one.standing for one in self.leaderboard.boards if one.name == board), None)
        if result is None or math.isnan(result.scores.get(row, math.nan)):
            return "–"
        best, worst = result.interval.get(row, (result.ranks.get(row), None))
        line = f"{best}–{worst}" if worst and worst != best else f"{best}"
        return result.texts[row] + (f" (rank {line} of {len(result.scores)})" if best else "")

    def line(self, board: str, row: str) -> dict[str, str]:
        """A row's line of a board, by column; empty where it has none."""
        for one in self.leaderboard.boards:
            if one.name == board and len(one.text) and "defense" in one.text:
                for line in one.text[one.text["defense"] == row].to_dict(orient="records"):
                    return {str(name): str(value) for name, value in line.items()}
        return {}


@dataclass(frozen=True)
class Stand:
    """A row on one suite's boards."""

    suite: str
    row: str
    accuracy: str
    recovered: str
    clean: str
    breaks: str
    claims: dict[str, str]


@dataclass(frozen=True)
class Hit:
    """What an attack does to a row in one column; `breaks` as the overall board judges it."""

    suite: str
    row: str
    column: str
    board: str
    text: str
    breaks: bool
    harm: float
    verdict: str = "breaks it"


def stands(name: str, published: Iterable[Published]) -> Iterator[Stand]:
    """All rows of a defense: of each suite those whose rule it is, or that it stands in front of."""
    for one in published:
        rows = dict.fromkeys(
            cell.label
            for cell in one.measured.of
            if cell.defense.name == name or cell.defense.parameters.get("rule") == name
        )
        for row in rows:
            overall = one.line("overall", row)
            claims = {key: text for key, text in one.line("claims", row).items() if key != "defense"}
            accuracy, recovered, clean = (one.text(board, row) for board in ("robustness", "privacy", "utility"))
            breaks = overall.get("what breaks it", "–")
            yield Stand(one.suite, row, accuracy, recovered, clean, breaks, claims)


def hits(name: str, published: Iterable[Published]) -> list[Hit]:
    """What an attack does to every row, the worst harm first; only what was measured."""
    results = []
    for one in published:
        measured = one.measured
        columns = {column: cell for column, cell in measured.cells.items() if cell.attack and cell.attack.name == name}
        for board in METRICS:
            for (row, column), value in measured.found[board].items():
                if column in columns and not math.isnan(value.score) and row in measured.defenses:
                    results.append(_hit(one.suite, row, column, board, value, measured.clean(row)))
        results += _told(one, columns)
        results += _audited(one, columns)
    return sorted(results, key=lambda hit: (not hit.breaks, -hit.harm, hit.suite, hit.row))


def _hit(suite: str, row: str, column: str, board: str, value: Estimate, clean: float) -> Hit:
    if board == "robustness":
        text = f"{value.text().removesuffix(' †')} % accuracy" + (
            "" if math.isnan(clean) else f", {clean:.1%} without an attack"
        )
        lost = (clean - value.score) / clean if clean and not math.isnan(clean) else 0.0
        return Hit(suite, row, column, board, text, value.score < BROKEN_SHARE * clean, lost)
    if board == "backdoor":
        text, breaks = f"the trigger works on {value.text().removesuffix(' †')} %", value.mean >= BACKDOOR_SHARE
    else:
        text, breaks = f"{value.share()} of the images", value.mean >= LEAKING_SHARE
    return Hit(suite, row, column, board, text, breaks, value.mean)


TOLD = {"membership": ("tpr_at_1", 0.01), "property": ("explained", 0.0)}
"""Boards of what is told of the clients: the metric, and what a guess reaches."""


def _told(one: Published, columns: Collection[str]) -> list[Hit]:
    """Of membership and label shares: where the interval lies above a guess, something is told."""
    results = []
    data = one.measured.data
    for board, (metric, guess) in TOLD.items():
        for (row, column), value in estimates_of(data[data["board"] == board], metric).items():
            if column not in columns or math.isnan(value.mean) or row not in one.measured.defenses:
                continue
            if board == "membership":
                text = f"finds {value.share()} of the members at 1 % false positives"
            else:
                text = f"explains {value.text(digits=0)} % of what a blind guess of the label shares misses"
            tells = value.ends[0] > guess
            results.append(Hit(one.suite, row, column, board, text, tells, value.mean, "more than a guess"))
    return results


def _audited(one: Published, columns: Collection[str]) -> list[Hit]:
    """Of audits: a claim is broken where more is proved than is claimed, for these colluders."""
    records = [record for record in one.leaderboard.evidence if record.cell.column in columns]
    results = []
    for board, audits in (("audits", find_audits(records)), ("run_audits", find_run_audits(records))):
        for (row, column), audit in audits.items():
            text = f"proves ε ≥ {audit.bound}" + (f", claimed are {plain(audit.allowed)}" if audit.allowed else "")
            text += ", for more colluders than the claim is meant for" if audit.exceeds and audit.beyond else ""
            results.append(Hit(one.suite, row, column, board, text, audit.breaks, audit.epsilon, "breaks the claim"))
    return results


def leader(one: Published) -> tuple[str, str, str]:
    """Who leads the first board of a suite that ranks anybody: the board's name, the rows of one group, the best score.

    A row whose clean accuracy is less than half of the best leads nobody: it is robust because it learns little.
    """
    least = BROKEN_SHARE * one.measured.best_clean
    for board in one.leaderboard.boards:
        standing = board.standing
        places = {row: rank for row, rank in standing.ranks.items() if rank and not one.measured.clean(row) < least}
        first = sorted((row for row in places if places[row] == min(places.values())), key=standing.place)
        if first:
            more = f" and {counted(len(first) - NAMED, 'other')}" if len(first) > NAMED else ""
            return board.name, ", ".join(first[:NAMED]) + more, standing.texts[first[0]]
    return "", "", ""
