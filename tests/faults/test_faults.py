"""A quick share of `make test-faults`: jobs killed, out of disk and damaged, and that the suite itself can fail."""

import random
from types import SimpleNamespace

import faults
import fork
import jobs
import pandas as pd
import pytest

COMMITTED = jobs.REPOSITORY / "results" / "tables" / "faults"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return faults.Stage("evaluation", tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.75, 1.0])
def test_killed_and_run_again(stage, share):
    row = stage.kill(max(1, round(share * stage.events)))
    assert (row["ended"], row["equal"], row["outcome"]) == ("killed", "yes", "equal"), row


def test_killed_inside_native_code(stage):
    assert stage.kill_in_time(0.5)["outcome"] == "equal"


@pytest.mark.timeout(30)
def test_a_job_that_is_killed_while_it_draws_progress_holds_nobody_up(tmp_path):
    fork.tqdm.std.tqdm.get_lock()  # made before the forks, as by any progress bar of this process

    def killed():
        with fork.tqdm.std.tqdm.get_lock():
            fork.os.kill(fork.os.getpid(), fork.signal.SIGKILL)

    assert fork.forked(killed, tmp_path)["exit"] == fork.KILLED
    assert fork.forked(lambda: len(list(fork.tqdm.std.tqdm(range(3)))) - 3, tmp_path)["exit"] == 0


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_full_disk_is_one_sentence_and_nothing_finished_is_lost(stage, share):
    row = stage.disk_full(round(share * stage.events))
    assert row["outcome"] in ("equal", "sentence") and row["ended"] in ("done", "sentence"), row
    assert row["ended"] == "done" or "No space left on the disk" in row["said"]


def test_two_at_once(stage):
    assert stage.two_at_once()["outcome"] == "equal"


@pytest.mark.parametrize(
    ("file", "how", "outcome"),
    [
        ("records.parquet", "truncated", "sentence"),
        ("records.parquet", "exchanged", "sentence"),
        ("manifest.json", "zeros", "sentence"),
        ("config.json", "emptied", "sentence"),
        ("manifest.json", "removed", "equal"),
    ],
)
def test_damaged_files(stage, file, how, outcome):
    (folder,) = (stage.whole / "runs").glob("eval-*")
    row = stage.corrupt(stage.whole, "a finished job", f"runs/{folder.name}/{file}", how, 0)
    assert row["outcome"] == outcome, row


def test_a_wrong_result_would_be_called_a_failure(stage, monkeypatch):
    name = next(name for name in stage.expected if name.endswith("records.parquet"))
    monkeypatch.setattr(stage, "expected", {**stage.expected, name: "another"})
    row = stage.kill(stage.events // 2)
    assert (row["equal"], row["outcome"]) == ("no", "failure") and "differ" in row["problem"]


def test_a_half_written_result_would_be_called_a_failure(stage, monkeypatch):
    def left_half_written():
        (folder,) = (stage.whole / "runs").glob("eval-*")
        target = jobs.Path("runs") / folder.name
        target.mkdir(parents=True)
        (target / "manifest.json").write_text("{")
        fork.os.kill(fork.os.getpid(), fork.signal.SIGKILL)

    monkeypatch.setattr(stage, "_job", lambda variant=0: left_half_written)
    assert "counts as finished, but is not" in stage.kill(1)["problem"]


@pytest.mark.parametrize(
    ("said", "clear"),
    [("Two lines.\nTwo.", False), ("no end", False), ("Traceback of it.", False), ("It is so.", True)],
)
def test_what_counts_as_a_sentence(said, clear):
    assert (faults.Stage._unclear(said) == "") is clear


def test_damages_change_the_file(tmp_path):
    partner = tmp_path / "partner"
    partner.write_bytes(b"another")
    for how in faults.DAMAGES:
        path = tmp_path / how.replace(" ", "")
        path.write_bytes(b"something of some length")
        faults.damage(path, how, random.Random(0), partner)
        assert not path.is_file() or path.read_bytes() != b"something of some length"


def test_the_summary_counts_outcomes():
    rows = [("a", "kill", "equal"), ("a", "kill", "failure"), ("a", "emptied", "sentence")]
    counts = faults.summary(pd.DataFrame(rows, columns=["job", "fault", "outcome"])).set_index("fault")
    assert counts.loc["kill", ["equal", "sentence", "failure"]].tolist() == [1, 0, 1]
    assert counts.loc["damaged file", "sentence"] == 1


def test_parts_that_did_not_run_stay_in_the_table(tmp_path):
    def row(part, outcome):
        return dict.fromkeys(faults.COLUMNS, "") | {"part": part, "job": part, "fault": "kill", "outcome": outcome}

    faults.write(pd.DataFrame([row("labelling", "equal"), row("page", "equal")]), tmp_path, {"labelling": 1, "page": 1})
    faults.write(pd.DataFrame([row("labelling", "sentence")]), tmp_path, {"labelling": 2})
    found = pd.read_csv(tmp_path / "faults.csv", keep_default_na=False)
    assert found[["part", "outcome"]].values.tolist() == [["labelling", "sentence"], ["page", "equal"]]
    assert faults.read_json(tmp_path / "faults.json") == {"labelling": 2, "page": 1}
    assert pd.read_csv(tmp_path / "summary.csv")["sentence"].tolist() == [1, 0]


def planned(name, events, folder, counts):
    """The kills that are planned for a job of so many file operations: their numbers, and shares of its time."""
    kinds = ("kill", "kill_in_time", "disk_full", "two_at_once", "kernel_killed", "not_a_number", "corrupt")
    stage = SimpleNamespace(name=name, kind=jobs.JOBS[name], events=events, whole=folder, killed_late=lambda _: folder)
    for kind in kinds:
        setattr(stage, kind, kind)
    work = faults.plan(stage, counts, random.Random(0), mount=False)
    return [[arguments[0] for one, arguments in work if one == kind] for kind in ("kill", "kill_in_time")]


def test_no_operation_is_killed_twice_and_what_is_left_over_comes_at_random_times(tmp_path):
    counts = faults.WHOLE | {"kills": 12, "kills in time": 2}
    for events, operations, times in ((5, 5, 9), (100, 12, 2)):
        kills, in_time = planned("evaluation", events, tmp_path, counts)
        assert (len(kills), len(set(kills)), len(set(in_time))) == (operations, operations, times)
        assert set(kills) <= set(range(1, events + 1)) and kills != sorted(kills)


def test_a_whole_run_kills_at_300_distinct_points(tmp_path):
    table = pd.read_csv(COMMITTED / "faults.csv", keep_default_na=False)
    kills = table[table["fault"] == "kill"]
    events = kills["where"].str.extract(r" of (\d+)$")[0].astype(int).groupby(kills["part"]).max()
    plans = {name: planned(name, events.get(name, 0), tmp_path, faults.WHOLE) for name in jobs.JOBS}
    operations, times = (sum(len(set(plan[kind])) for plan in plans.values()) for kind in (0, 1))
    assert operations >= 200 and times >= 100 and all(plan[1] for plan in plans.values())


def test_repeated_kills_count_once():
    kills = [("a", "open .x.1 (3) of 9"), ("a", "open .x.2 (3) of 9"), ("b", "open .x.2 (3) of 9")]
    rows = [(part, "kill", where) for part, where in kills]
    rows += [("a", "kill in time", "0.50 of 2.0 s"), ("a", "kill in time", "0.51 of 2.0 s")]
    table = pd.DataFrame(rows, columns=["part", "fault", "where"]).assign(ended="killed")
    assert faults.kill_points(table) == (2, 2)
    assert faults.kill_points(table.assign(ended="done")) == (0, 0)


def test_a_job_that_was_done_in_time_is_killed_earlier(stage, monkeypatch):
    monkeypatch.setattr(stage, "seconds", 4 * stage.seconds)
    row = stage.kill_in_time(0.9)
    assert (row["ended"], row["outcome"]) == ("killed", "equal"), row


def test_the_committed_table_has_every_part_and_no_failure():
    table = pd.read_csv(COMMITTED / "faults.csv", keep_default_na=False)
    assert set(table["part"]) == set(faults.PARTS) == set(faults.read_json(COMMITTED / "faults.json"))
    operations, times = faults.kill_points(table)
    page = " ".join((jobs.REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8").split())
    assert f"at {operations} distinct file operations and at {times} random times" in page, (
        "the page says other numbers"
    )
    assert table["fault"].isin(faults.DAMAGES).sum() >= 100
    assert {"kill in time", "disk full", "small disk", "two at once", "not a number"} <= set(table["fault"])
    assert set(table["outcome"]) == {"equal", "sentence"} and set(table["equal"]) == {"yes"}
    assert table.loc[table["outcome"] == "sentence", "said"].str.endswith(".").all()
    assert faults.summary(table).to_csv(index=False) == (COMMITTED / "summary.csv").read_text()
