"""Bad input through the command line: one line that names the thing, the value and what would be right; exit code 2.

No traceback, no file written. A few faults go through a process of their own, so that nothing a test sets up helps.
"""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.data import datasets as data
from bench.records import read
from tests.bench.helpers.suites import ROWS
from tests.cases import slow

RUN = ("run", "--suite", "tiny.toml", "--workers", "1")
EDITED = ("run", "--suite", "edited.toml", "--workers", "1")
NOT_1 = r"(Input should be greater than or equal to 1|0 is not in the range x>=1\.)"  # typer from 0.29 on, and before

COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "no such command": (("rum",), r"No such command 'rum'"),
    "no such option": ((*RUN, "--speed", "9"), r"No such option:? .?--speed"),
    "an option without its value": (("run", "--suite"), r"--suite.*requires an argument"),
    "an argument too many": (("list", "attacks", "models"), r"unexpected extra argument.*models"),
    "no such kind": (("list", "defences"), r"'defences': did you mean defenses\?"),
    "no such suite": (("run", "--suite", "mnst"), r"no suite named 'mnst': did you mean mnist.*path of a \.toml file"),
    "a suite that is not there": (("run", "--suite", "none.toml"), r"cannot read suite none\.toml: No such file"),
    "a folder as a suite": (("run", "--suite", "folder.toml"), r"cannot read suite folder\.toml: Is a directory"),
    "no such defense": ((*RUN, "--defense", "medain"), r"no defense in suite 'tiny' named 'medain'.*median"),
    "no such attack": ((*RUN, "--attack", "dgl"), r"no attack in suite 'tiny' named 'dgl'.*dlg"),
    "seeds that are none": ((*RUN, "--seeds", "x"), r"--seeds 'x' is not a list of whole numbers such as 0,1,2"),
    "seeds with a fraction": ((*RUN, "--seeds", "1.5"), r"--seeds '1\.5' is not a list of whole numbers"),
    "no seeds": ((*RUN, "--seeds", ""), r"--seeds '' is not a list of whole numbers"),
    "a seed twice": ((*RUN, "--seeds", "0,1,0"), r"--seeds '0,1,0' names a seed twice"),
    "no workers": (("run", "--workers", "0"), rf"'--workers': {NOT_1} \(given '0'\)"),
    "a word for a number": (("run", "--workers", "many"), r"'--workers': .*valid integer.* \(given 'many'\)"),
    "a device that is not there": (
        (*RUN, "--device", "cuda"),
        r"--device cuda needs a GPU that torch can use.*say cpu",
    ),
    "no such device": ((*RUN, "--device", "tpu"), r"no device named 'tpu': did you mean cpu\?"),
    "no time": ((*RUN, "--cell-timeout", "0"), r"--cell-timeout is 0, but must be a number of seconds above 0"),
    "time backwards": ((*RUN, "--cell-timeout", "-5"), r"--cell-timeout is -5, but must be .* above 0"),
    "a time that is no number": ((*RUN, "--cell-timeout", "nan"), r"--cell-timeout is nan, but must be .* above 0"),
    "time in words": ((*RUN, "--cell-timeout", "soon"), r"'--cell-timeout': .*valid (number|float).* \(given 'soon'\)"),
    "no memory": ((*RUN, "--cell-memory", "0"), rf"'--cell-memory': {NOT_1} \(given '0'\)"),
    "memory with a unit": ((*RUN, "--cell-memory", "4G"), r"'--cell-memory': .*valid integer.* \(given '4G'\)"),
    "a cluster without a port": ((*RUN, "--ray", "head"), r"--ray is 'head', but must be auto, local, or HOST:PORT of"),
    "a cluster at a port that is none": ((*RUN, "--ray", "head:99999"), r"--ray is 'head:99999', but must be auto, "),
    "a cluster from afar": ((*RUN, "--ray", "ray://head:10001"), r"--ray is 'ray://head:10001', but must be .*node of"),
    "a cluster that is not there": ((*RUN, "--ray", "127.0.0.1:9"), r"--ray 127\.0\.0\.1:9: nobody answers there"),
    "arrays in arrays without end": (
        (*RUN, "--set", f"lr={'[' * 2000}"),
        r"federation\.lr: .*valid number.* \(given '\[",
    ),
    "results in a file": ((*RUN, "--results", "newer.json"), r"cannot write under newer\.json/tiny: Not a directory"),
    "results that cannot be written": ((*RUN, "--results", "/proc/no"), r"cannot write under /proc/no/tiny: "),
    "boards of nothing": (
        ("leaderboard", "--suite", "tiny.toml"),
        r"no records in runs/tiny: run `python -m bench run ",
    ),
    "no such format": (("leaderboard", "--format", "mark"), r"no format named 'mark': .*md"),
    "a record that is not there": (("show", "none.json"), r"cannot read record none\.json: No such file"),
    "a record that is none": (("show", "tiny.toml"), r"tiny\.toml is not a record: invalid JSON in line"),
    "a record with something else": (("show", "other.json"), r"other\.json is not a record: .*Field required"),
    "a newer record": (("show", "newer.json"), r"newer\.json has schema version 99.*reads up to 1: upgrade"),
    "a folder as a record": (("show", "folder.toml"), r"folder\.toml is a folder: there is no record in it"),
    "a model that is like none": (
        (*RUN, "--set", "model=lstm"),
        r"no model named 'lstm': known are alexnet, .*softmax; `python -m bench list models` has all",
    ),
    "a suite that is a file's": (("run", "--suite", "tiny"), r"'tiny' is shipped: give the file, --suite tiny\.toml$"),
    "a suite like none": (
        ("run", "--suite", "qqq"),
        r"no suite named 'qqq': known are (?!.*papers/).*smoke.*and the papers' \(`.*list suites`\); or give the path",
    ),
    "a seed below zero": ((*RUN, "--seeds", "-1"), r"--seeds '-1' has a seed that is not between 0 and 1000000000$"),
    "a seed out of range": ((*RUN, "--seeds", "0,1000000001"), r"has a seed that is not between 0 and 1000000000$"),
    "no record": (("show",), r"Missing argument"),
    "a search for nothing": (("tune",), r"Missing option '--defense'"),
    "a suite without searches": (
        ("tune", "--defense", "median", "--suite", "bare.toml"),
        r"suite 'tiny' has no search grid for any defense: add a table \[tune\.median\] .*lr = \[0\.1, 0\.3\]",
    ),
    "a search without a clean run": (
        ("tune", "--defense", "median", "--suite", "unclean.toml"),
        r"suite 'tiny' has no clean run to tune on: it says training = false",
    ),
    "a clean run where there is none": (
        ("run", "--suite", "unclean.toml", "--attack", "clean"),
        r"no attack in suite 'tiny' named 'clean': .*sign_flip",
    ),
    "names of which one is wrong": (
        (*RUN, "--defense", "median,krumm"),
        r"no defense in suite 'tiny' named 'krumm'",
    ),
    "a record that is none to verify": (("verify", "other.json"), r"other\.json is not a record: .*Field required"),
    "no such search": (("tune", "--defense", "krum", "--suite", "tiny.toml"), r"no search grid in .*'krum': .*median"),
    "a search with a wrong parameter": (
        ("tune", "--defense", "median", "--suite", "tiny.toml", "--set", "median.q=1"),
        r"defense 'median': q: .*not permitted \(given 1\)",
    ),
    "a history that is not there": (("perf", "--history", "no.jsonl", "--plot", "x.png"), r"no\.jsonl has no entries"),
    "benchmarks that are not there": (("perf", "--benchmarks", "nowhere"), r"--benchmarks nowhere is not a folder"),
}

CHANGES: dict[str, str] = {  # what follows --set, and what is told
    "roundz=5": r"no key to --set named 'roundz': did you mean rounds",
    "rounds": r"--set 'rounds' is not of the form key=value",
    "=5": r"--set '=5' is not of the form key=value",
    "median.=5": r"--set 'median\.=5' is not of the form key=value",
    "medain.q=1": r"no defense, attack or table named 'medain': did you mean median",
    "median.q=1": r"defense 'median': q: .*not permitted \(given 1\)",
    "rounds=0": rf"federation\.rounds: {NOT_1} \(given 0\)",
    "rounds=[1,2]": r"federation\.rounds: .*valid integer \(given \[1, 2\]\)",
    "rounds=": r"federation\.rounds: .*valid integer.* \(given ''\)",
    "clients=0": rf"federation\.clients: {NOT_1} \(given 0\)",
    "clients=2.5": r"federation\.clients: .*valid integer.* \(given 2\.5\)",
    "clients=1e20": r"federation\.clients: .*less than or equal to 10000000 \(given 10{20}\)",
    **{
        f"{key}=1e20": rf"{key.split('.')[-1]}: .*less than or equal to 1000000000 \(given 10{{20}}\)"
        for key in ("rounds", "local_steps", "batch_size", "samples_per_client", "privacy.targets", "privacy.trained")
    },
    **{
        f"{key}=true": rf"{key.split('.')[-1]}: Input should be a number, not true or false"
        for key in (
            *("rounds", "clients", "lr", "alpha", "delta", "eval_every", "privacy.targets", "privacy.rounds"),
            *("resources.cpus", "ranking.recovered_psnr", "dp_fedavg.epsilon", "dlg.starts", "sign_flip.byzantine"),
            "sign_flip.c",
        )
    },
    "lr=nan": r"federation\.lr: Input should be a finite number \(given nan\)",
    "lr=-1": r"federation\.lr: Input should be greater than 0 \(given -1\)",
    "lr=fast": r"federation\.lr: .*valid number.* \(given 'fast'\)",
    "participation=1.5": r"federation\.participation: .*less than or equal to 1 \(given 1\.5\)",
    "momentum=1": r"federation\.momentum: .*less than 1 \(given 1\)",
    "delta=0": r"federation\.delta: .*greater than 0 \(given 0\)",
    "alpha=0": r"federation\.alpha: .*greater than 0 \(given 0\)",
    "partition=odd": r"federation\.partition: .*'iid', 'sorted', 'dirichlet' or 'similarity' \(given 'odd'\)",
    "dtype=float16": r"federation\.dtype: .*'float32' or 'float64' \(given 'float16'\)",
    "dataset=mnst": r"no data set named 'mnst': did you mean mnist\?",
    "dataset=3": r"federation\.dataset: .*valid string \(given 3\)",
    "model=sofmax": r"no model named 'sofmax': did you mean softmax\?",
    "assumed_byzantine=1": r"federation\.assumed_byzantine: .*less than 1 \(given 1\)",
    "sign_flip.byzantine=1.5": r"byzantine fraction 1\.5 is not between 0 and 1",
    "sign_flip.byzantine=x": r"byzantine\.0: .*valid number.* \(given 'x'\)",
    "dp_fedavg.epsilon=0": r"defense 'dp_fedavg': epsilon: .*greater than 0 \(given 0\)",
    "dp_fedavg.epsilon=-1": r"defense 'dp_fedavg': epsilon: .*greater than 0 \(given -1\)",
    "dp_fedavg.epsilon=[]": r"defense 'dp_fedavg': epsilon is an empty list, a sweep over nothing",
    "dlg.starts=0": rf"attack 'dlg': starts: {NOT_1} \(given 0\)",
    "dlg.begins=2": r"attack 'dlg': begins: .*not permitted \(given 2\)",
    "privacy.rounds=0": rf"rounds: {NOT_1} \(given 0\)",
    "privacy.targets=7": r"row 'median', dlg: privacy\.targets is 7, but must be at most 6, the clients",
    "privacy.subjects=9": r"subjects: .*not permitted \(given 9\)",
    "resources.cpus=0": r"resources\.cpus: .*equal to 0\.01 \(given 0\)",
    "resources.gpus=-1": r"resources\.gpus: .*equal to 0 \(given -1\)",
    "resources.gpus=1.5": r"resources\.gpus: gpus is 1\.5, but must be a whole number, or a share of one GPU",
    "resources.tpus=1": r"resources\.tpus: .*not permitted \(given 1\)",
    "ranking.recovered_psnr=inf": r"ranking\.recovered_psnr: .*finite number \(given inf\)",
}

EDITS: dict[str, tuple[str, str, str]] = {  # what of the suite's text, all of it if "", becomes what, and what is told
    "a syntax error": ("lr = 0.5", "lr = = 1", r"edited\.toml is not valid TOML: .*\(at line 13, column 6\)"),
    "a table that is not closed": ("[privacy]", "[privacy", r"is not valid TOML: .*\(at line 16, column 9\)"),
    "arrays in arrays without end": ("lr = 0.5", f"lr = {'[' * 2000}", r"is not valid TOML: .* nested too deep"),
    "a key twice": ("rounds = 2", "rounds = 2\nrounds = 3", r"is not valid TOML: Cannot overwrite.*line 11"),
    "bytes that are no text": ("a tiny suite", "\udcff", r"is not valid TOML: 'utf-8' codec can't decode byte 0xff"),
    "nothing": ("", "", r"edited\.toml: name: Field required"),
    "no name": ('name = "tiny"', "", r"edited\.toml: name: Field required"),
    "a name that leaves the folder": ('"tiny"', '"../tiny"', r"name: .*should match pattern.* \(given '\.\./tiny'\)"),
    "a seed twice": ("seeds = [0]", "seeds = [3, 3]", r"seeds: seed 3 stands there twice"),
    "a seed below zero": ("seeds = [0]", "seeds = [-3]", r"seeds: seed -3 is not between 0 and 1000000000$"),
    "a fraction out of range": (
        "byzantine = [0.0, 0.16]",
        "byzantine = [1.2]",
        r"edited\.toml: attack\.0\.byzantine: byzantine fraction 1\.2 is not between 0 and 1$",
    ),
    "a defense twice": (
        '[[defense]]\nname = "median"',
        '[[defense]]\nname = "median"\n\n[[defense]]\nname = "median"',
        r"suite 'tiny': row 'median' x 'clean' stands there twice: take one out, give a defense another label",
    ),
    "an attack twice": (
        '[[attack]]\nname = "sign_flip"\nbyzantine = [0.0, 0.16]',
        '[[attack]]\nname = "sign_flip"\nbyzantine = [0.16]\n\n[[attack]]\nname = "sign_flip"\nbyzantine = [0.0, 0.16]',
        r"suite 'tiny': row '\w+' x 'sign_flip b=0\.16' stands there twice: take one out",
    ),
    "no seeds": ("seeds = [0]", "seeds = []", r"seeds: .*at least 1 item.* \(given \[\]\)"),
    "no attacks": (
        ROWS[ROWS.index("[[attack]]") : ROWS.index("[tune")],
        "",
        r"edited\.toml: attack: Field required",
    ),
    "no defenses": (
        ROWS[: ROWS.index("[[attack")],
        "",
        r"edited\.toml: defense: Field required",
    ),
    "a suite after another": (
        "seeds = [0]",
        'seeds = [0]\nextends = "digits"',
        r"extends: .*copy the file.*or .*--set",
    ),
    "a truth value as a seed": ("seeds = [0]", "seeds = [true]", r"seeds: Input should be a number, not true or false"),
    "more threads than any": (
        "seeds = [0]",
        "seeds = [0]\nthreads = 100000",
        r"threads: .*equal to 1024 \(given 100000",
    ),
    "a key of two lines": ("[tune.median]", '["two\\nlines"]', r"'two\\nlines': .*not permitted \(given"),
    "a table that is unknown": ("[tune.median]", "[extra]", r"extra: .*not permitted \(given"),
    "a defense that is unknown": ('"median"', '"medain"', r"no defense named 'medain': did you mean median"),
    "an attack that is unknown": ('"dlg"', '"dgl"', r"no attack named 'dgl': did you mean dlg\?"),
    "a defense without a name": ('name = "median"', 'label = "m"', r"defense\.0\.name: Field required"),
    "a title that is a number": ('"a tiny suite"', "3", r"title: .*valid string \(given 3\)"),
    "no threads": ("seeds = [0]", "seeds = [0]\nthreads = 0", rf"threads: {NOT_1} \(given 0\)"),
    "two lengths of training": (
        "local_steps = 1",
        "local_steps = 1\nlocal_epochs = 1",
        r"federation: give either local_epochs or local_steps",
    ),
    "an attack without its fraction": ("byzantine = [0.0, 0.16]", "", r"attack 'sign_flip' needs byzantine"),
    "a round that is not wanted": ("starts = 1", "start = 2", r"attack 'dlg' forges nothing and takes no start"),
    "f too large for Krum": (
        '"median"',
        '"krum"\n[defense.federation]\nassumed_byzantine = 0.4',
        r"row 'krum'.*: assumed Byzantine clients is 2, but must be at most 1 .* n >= 2 f \+ 3",
    ),
    "f of one half": (
        '"median"',
        '"trimmed_mean"\n[defense.federation]\nassumed_byzantine = 0.5',
        r"row 'trimmed_mean'.*: assumed Byzantine clients is 3, but must be between 0 and 2",
    ),
    "gamma of one": ('"median"', '"dpbfl"\ngamma = 1.0', r"defense 'dpbfl': gamma: .*less than 1 \(given 1\.0\)"),
    "gamma below zero": ('"median"', '"dpbfl"\ngamma = -0.1', r"'dpbfl': gamma: .*equal to 0 \(given -0\.1\)"),
    "more shares than participants": (
        '"median"',
        '"niss"\nnum_shares = 6',
        r"row 'niss'.*: num_shares is 6, but must be at most 5, the other participants",
    ),
    "rho over one": ('"dlg"', '"collusion"\nrho = 1.5', r"attack 'collusion': rho: .*equal to 1 \(given 1\.5\)"),
    "more selected than there are": (
        '"median"',
        '"krum"\nnum_selected = 7',
        r"num_selected is 7, but must be at most 6",
    ),
}

REFUSED = {  # rows that their defense refuses; alone they are bad input, beside others rows that say why
    "f too large for Krum": "krum",
    "f of one half": "trimmed_mean",
    "more shares than participants": "niss",
    "more selected than there are": "krum",
}

CASES = {
    **{f"command: {name}": case for name, case in COMMANDS.items()},
    **{f"--set {change}": ((*RUN, "--set", change), told) for change, told in CHANGES.items()},
    **{
        f"suite: {name}": ((*EDITED, *(("--defense", REFUSED[name]) if name in REFUSED else ())), told)
        for name, (_, _, told) in EDITS.items()
    },
}


def test_there_are_more_than_sixty() -> None:
    assert len(CASES) >= 60


@pytest.fixture
def folder(tmp_path: Path, suite_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FEDSIEGE_DATA", raising=False)
    (tmp_path / "tiny.toml").write_text(suite_text)
    (tmp_path / "bare.toml").write_text(suite_text[: suite_text.index("[tune")])
    (tmp_path / "unclean.toml").write_text(suite_text.replace("seeds = [0]", "seeds = [0]\ntraining = false"))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "newer.json").write_text('{"schema_version": 99}')
    return tmp_path


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def the_line(done: Any) -> str:
    assert (done.code, done.out) == (2, ""), done
    (line,) = done.err.splitlines()
    assert line.startswith("fedsiege: ")
    return str(line)


def edit(folder: Path, name: str) -> None:
    """Where the case is one of `EDITS`, write the edited suite."""
    if name.startswith("suite: "):
        text = (folder / "tiny.toml").read_text()
        old, new, _ = EDITS[name.removeprefix("suite: ")]
        assert old in text
        edited = text.replace(old or text, new, 1)
        (folder / "edited.toml").write_bytes(edited.encode(errors="surrogateescape"))


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_exit_code_two(bench: Callable[..., Any], folder: Path, name: str) -> None:
    arguments, told = CASES[name]
    edit(folder, name)
    before = everything(folder)
    line = the_line(bench(*arguments))
    assert re.search(told, line), line
    assert everything(folder) == before


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_that_its_defense_refuses_stops_no_other_and_says_why(
    bench: Callable[..., Any], folder: Path, name: str
) -> None:
    edit(folder, f"suite: {name}")
    done = bench(*EDITED, "--attack", "sign_flip")
    assert (done.code, "Traceback" in done.out + done.err) == (1, False), done
    found = [read(path) for path in sorted((folder / "runs").glob("*/*/*/*.json"))]
    assert sorted((record.cell.defense.name, record.status) for record in found) == sorted(
        [("dp_fedavg", "ok")] * 2 + [(REFUSED[name], "failed")] * 2
    )
    why = next(record.error for record in found if record.status == "failed")
    assert re.search(EDITS[name][2].rpartition(": ")[2], why or ""), why
    assert (why or "").split(": ")[-1][:60] in " ".join(done.out.split())


# --------------------------------------------------------------------------------------------------- data, old records


def test_a_data_root_that_is_not_there(bench: Callable[..., Any], folder: Path) -> None:
    line = the_line(bench(*RUN, "--set", "dataset=mnist", "--data", "nowhere"))
    assert re.search(
        r"data root \S+nowhere is not a directory: set FEDSIEGE_DATA or --data to a torchvision root", line
    )
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("how", ["missing", "truncated", "empty"])
def test_data_files_that_are_missing_or_damaged(bench: Callable[..., Any], folder: Path, how: str) -> None:
    raw = folder / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in data.IDX_FILES[: -1 if how == "missing" else None]:
        (raw / file).write_bytes(b"" if how == "empty" else bytes([0, 0, 8, 3, 0, 0, 234, 96, 0, 0]))
    before = everything(folder)
    line = the_line(bench(*RUN, "--set", "dataset=mnist", "--data", "root"))
    expected = (
        rf"expected \S+raw with {data.IDX_FILES[-1]}"
        if how == "missing"
        else r"damaged or unreadable: fetch train-images"
    )
    assert re.search(rf"mnist (not found )?under \S+root.*{expected}", line), line
    assert everything(folder) == before


def test_no_network(bench: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody listens at stands for it."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(data, "_load", data._load.__wrapped__)  # another test's download is not to help
    line = the_line(bench(*RUN, "--set", "dataset=mnist"))
    assert re.search(r"cannot download mnist \(no network\?\): set FEDSIEGE_DATA or --data to a torchvision root", line)
    assert not (folder / "runs").exists()


def test_records_of_a_newer_version_are_not_written_over(bench: Callable[..., Any], folder: Path) -> None:
    corner = (*RUN, "--defense", "median", "--attack", "sign_flip", "--quiet")
    assert bench(*corner).code == 0
    newer = next((folder / "runs").glob("*/*/*/*.json"))
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema_version": 2}))
    before = everything(folder)
    for more in ((), ("--fresh",)):
        line = the_line(bench(*corner, *more))
        assert re.search(rf"{newer.name} has schema version 2; this fedsiege reads up to 1: upgrade it", line)
    assert everything(folder) == before


def test_a_file_that_is_no_record_is_kept_and_told(bench: Callable[..., Any], folder: Path) -> None:
    corner = (*RUN, "--defense", "median", "--attack", "sign_flip")
    assert bench(*corner, "--quiet").code == 0
    path = next((folder / "runs").glob("*/*/*/*.json"))
    half = path.read_bytes()[:300]
    path.write_bytes(half)
    path.with_name("foreign.json").write_bytes(gzip.compress(b"not ours"))
    done = bench(*corner)
    assert (done.code, "1 cell run, 1 was there" in done.out) == (0, True)
    told = done.out.replace("\n", "")
    assert "foreign.json" in told
    assert f"{path.name}.damaged-1 is not a record" in told
    assert path.with_name(f"{path.name}.damaged-1").read_bytes() == half
    assert read(path).status == "ok"


@pytest.mark.parametrize("fraction", ["0.5", "0.84"])
def test_more_byzantine_clients_than_a_rule_can_take_are_told_in_the_record(
    bench: Callable[..., Any], folder: Path, fraction: str
) -> None:
    """No error: the row is to show what then happens. A fraction above 1 is one."""
    asked = (*RUN, "--defense", "median", "--attack", "sign_flip", "--set", f"sign_flip.byzantine={fraction}")
    done = bench(*asked, "--quiet")
    assert (done.code, done.err) == (0, "")
    (path,) = (folder / "runs").glob("tiny/median/sign_flip*/*.json")
    record = read(path)
    assert (record.status, record.cell.byzantine, record.within_claim) == ("ok", float(fraction), False)
    assert "beyond the defense's claim" in bench("show", str(path)).out


# ----------------------------------------------------------------------------------------------- in its own process


@pytest.mark.parametrize("name", ["command: no such option", slow("suite: f too large for Krum")])
def test_bad_input_in_a_process_of_its_own_is_the_same(shell: Callable[..., Any], folder: Path, name: str) -> None:
    """What the parser of the command line refuses, before torch is there, and what is seen last, in the cells."""
    arguments, told = CASES[name]
    edit(folder, name)
    before = everything(folder)
    line = the_line(shell(*arguments))
    assert re.search(told, line), line
    assert everything(folder) == before
