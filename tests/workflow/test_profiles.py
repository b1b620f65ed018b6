"""Profiles against their notebooks, and what finished jobs leave."""

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import sha256_file, write_json, write_parquet
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.jobs import forget_outdated, identity, run_job, written
from spurious_rewards.workflow.parameters import source_digest
from spurious_rewards.workflow.profiles import job_result, job_results, load_profile, main, profile_names, read_profile
from spurious_rewards.workflow.progress import Progress
from spurious_rewards.workflow.reproduce import missing_requirements, reproduce

STAGES = """
stages:
  train: {notebook: train, grid: {seed: [0, 1]}}
  report: {notebook: report, needs: [train], outputs: [results/page.html]}
"""


@pytest.fixture
def profile(project, notebook):
    """Writes `profiles/toy.yaml` over two notebooks and returns its loader."""
    notebook("train", "1", parameters="seed: int = 0\nsize: float = 1.0\noptions: str = ''")
    notebook("report", "1", parameters="profile: str = 'micro'\nsize: float = 2.0")

    def load(text=STAGES, name="toy"):
        (project / "profiles" / f"{name}.yaml").write_text(text)
        return load_profile(name)

    return load


def test_common_parameters_and_the_profiles_name_go_where_they_are_known(profile):
    jobs = profile("common: {size: 3}" + STAGES).jobs
    assert [job.parameters for job in jobs] == [
        {"size": 3.0, "seed": 0},
        {"size": 3.0, "seed": 1},
        {"size": 3.0, "profile": "toy"},
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stage: {}", "Unknown key in toy.yaml 'stage' (did you mean 'stages'?)"),
        ("status: done\nstages: {}", "Unknown status of profile toy 'done'"),
        ("requires: [gpus]\nstages: {}", "Unknown requirement of profile toy 'gpus' (did you mean 'gpu'?)"),
        ("requires: gpu\nstages: {}", "Requires of toy.yaml must be a list of names"),
        ("disk_gb: much\nstages: {}", "disk_gb of profile toy must be a number"),
        ("disk_gb: -1\nstages: {}", "disk_gb of profile toy must be a number of at least 0, but it is -1"),
        ("disk_gb: true\nstages: {}", "disk_gb of profile toy must be a number of at least 0, but it is True"),
        ("description: [1]\nstages: {}", "The description of profile toy must be a text, but it is [1]"),
        ("description: x", "Stages of toy.yaml must be a mapping"),
        ("common: {sise: 3}" + STAGES, "Unknown parameter in common of profile toy 'sise' (did you mean 'size'?)"),
        ("stages: {train: {notebook: tran}}", "There is no notebook"),
        ("stages: {train: {notebook: train, parameters: {sed: 1}}}", "Unknown parameter of train.ipynb (job train)"),
        ("stages: {train: {notebook: train, grid: {seed: [0, x]}}}", "Parameter seed must be int, but 'x' is str"),
        (
            "stages: {train: {notebook: train, parameters: {options: no}}}",
            "train.ipynb (job train): Parameter options must be str, but False is bool (YAML reads a bare yes, no,",
        ),
        ("stages: {train: {notebook: train, config: no.Such}}", "There is no configuration class no.Such"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(profile, text, sentence):
    with pytest.raises(InputError) as caught:
        profile(text)
    assert sentence in str(caught.value)


def test_a_profile_that_does_not_say_has_not_been_run(profile, project):
    assert profile().status == "not run" and profile("status: measured" + STAGES).status == "measured"
    (project / "profiles" / "latin.yaml").write_bytes("description: café".encode("latin-1"))
    with pytest.raises(InputError, match="latin.yaml is not UTF-8 text .byte 16.; save it as UTF-8"):
        load_profile("latin")


def test_parameters_are_checked_against_the_stages_configuration_class(profile, project, monkeypatch):
    (project / "toy_config.py").write_text(
        "from dataclasses import dataclass\n"
        "from spurious_rewards.errors import InputError\n"
        "from spurious_rewards.storage.config import Config\n"
        "@dataclass(frozen=True)\n"
        "class ToyConfig(Config):\n"
        "    seed: int = 0\n"
        "    speed: float = 1.0\n"
        "    def validate(self):\n"
        "        if self.seed > 1 or self.speed < 0: raise InputError('too much')\n"
    )
    monkeypatch.syspath_prepend(str(project))
    stage = "stages: {{train: {{notebook: train, config: toy_config.ToyConfig, parameters: {}}}}}"
    assert len(profile(stage.format("{seed: 1, options: 'speed: 5e-1'}")).jobs) == 1
    for values in ("{seed: 2}", "{options: 'speed: -1'}"):
        with pytest.raises(InputError, match=r"train.ipynb \(job train\): too much"):
            profile(stage.format(values))


def test_an_unknown_profile_names_the_known_ones(profile, capsys):
    profile()
    assert profile_names() == ["toy"]
    assert main(["tyo"]) == 2
    assert capsys.readouterr().err == "Unknown profile 'tyo' (did you mean 'toy'?); known: toy.\n"
    assert main(["toy"]) == 0
    assert "train-seed1  train  seed=1\n" in capsys.readouterr().out


def test_results_of_jobs_are_read_by_reference(profile, project, monkeypatch, capsys):
    jobs = profile().jobs
    with pytest.raises(InputError, match="Job toy/train-seed0 is not done; run it first: make reproduce PROFILE=toy"):
        job_result("toy/train-seed0")
    with pytest.raises(InputError, match="did you mean 'train-seed1'"):
        job_result("toy/train-sed1")
    with pytest.raises(InputError, match="no reference to a job"):
        job_result("train-seed0")
    with pytest.raises(InputError, match="toy/train-seed0 is not done"):
        run_job(jobs[-1])  # the report needs both trainings
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_job(jobs[0])
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["Done:", "Parameters:", "Runs:", "Used:", "Written:"]
    assert "train-seed0 (train) in" in told[0] and "seed=0" in told[1] and "train-seed0.ipynb" in told[4]
    result = job_result("toy/train-seed0")
    assert result == {
        "profile": "toy", "job": "train-seed0", "stage": "train", "notebook": "train",
        "notebook_digest": source_digest(project / "notebooks" / "train.ipynb"),
        "parameters": {"seed": 0, "size": 1.0, "options": ""}, "needs": {}, "run_ids": [],
        "files": {"train-seed0.ipynb": sha256_file(jobs[0].output_notebook)},
    }  # fmt: skip
    assert job_results("toy") == [result]


def test_a_job_is_done_only_as_the_profile_wants_it(profile, project):
    found = profile()
    train, _, report = found.jobs
    run = RunFolder.open("a", {})
    run.finish()
    outputs = [train.output_notebook, report.output_notebook, project / "results" / "page.html"]
    for path in (*outputs, train.result_file, report.result_file):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = identity(train) | {"run_ids": ["a"], "files": written(train)}
    write_json(train.result_file, done)
    write_json(report.result_file, (finished := identity(report) | {"run_ids": [], "files": written(report)}))
    assert forget_outdated(found) == []
    write_json(train.result_file, done | {"run_ids": ["a", "a"]})  # another result, though none of its own changed
    assert forget_outdated(found) == [report]
    write_json(train.result_file, done)
    write_json(report.result_file, finished)
    assert list(identity(report)["needs"]) == ["train-seed0", "train-seed1"]
    assert forget_outdated(found) == []
    for damage in (lambda: outputs[-1].unlink(), lambda: outputs[-1].write_text("half of i")):
        damage()
        assert forget_outdated(found) == [report] and not report.result_file.exists()
        write_json(report.result_file, finished)
        outputs[-1].write_text("")
    run.path("manifest.json").unlink()
    assert forget_outdated(found) == [train, report]
    run.finish()
    write_json(train.result_file, done)
    assert forget_outdated(found) == []
    changed = profile("common: {size: 3}" + STAGES)  # it was done with size 1
    assert [job.name for job in forget_outdated(changed)] == ["train-seed0"]


@pytest.mark.parametrize("how", ["damaged", "of another job", "a list"])
def test_a_damaged_result_file_is_one_sentence_and_its_job_runs_again(profile, project, how):
    found = profile()
    train, other, _ = found.jobs
    for job in (train, other):
        job.output_notebook.parent.mkdir(parents=True, exist_ok=True)
        job.output_notebook.touch()
        write_json(job.result_file, identity(job) | {"run_ids": [], "files": written(job)})
    text = {"damaged": '{"profile": "to', "of another job": other.result_file.read_text(), "a list": "[]"}[how]
    train.result_file.write_text(text)
    for read in (lambda: job_result("toy/train-seed0"), lambda: job_results("toy")):
        with pytest.raises(InputError, match=r"jobs/train-seed0.json is .*: delete it and run again \(make reproduce"):
            read()
    assert forget_outdated(found) == [train] and not train.result_file.exists()


def test_a_damaged_table_of_a_finished_job_is_one_sentence(profile, project):
    found = profile()
    train = found.jobs[0]
    run = RunFolder.open("a", {})
    write_parquet(run.path("rows.parquet"), pd.DataFrame({"n": [1]}))
    run.finish()
    train.output_notebook.parent.mkdir(parents=True)
    train.output_notebook.touch()
    write_json(train.result_file, identity(train) | {"run_ids": ["a"], "files": written(train)})
    assert forget_outdated(found) == []
    run.path("rows.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="a/rows.parquet is not the file that run a ended with"):
        forget_outdated(found)
    assert train.result_file.exists()


def test_what_the_machine_lacks_is_said_before_anything_runs(profile, project, monkeypatch):
    monkeypatch.setenv("SPURIOUS_DATA_DIR", str(project / "nowhere"))
    text = "requires: [data]\ndisk_gb: 1e9\nstages: {train: {notebook: train, resources: {memory_mb: 100000000}}}"
    sentences = missing_requirements(profile(text))
    assert [sentence.split(",")[0].split(";")[0] for sentence in sentences] == [
        f"SPURIOUS_DATA_DIR is {project / 'nowhere'}",
        "Job train needs 100000000 MB of memory",
        "Profile toy needs 1e+09 GB of disk",
    ]
    with pytest.raises(InputError, match="is no folder; correct it"):
        reproduce("toy", 1)
    assert not (project / "runs" / "profiles").exists()
    monkeypatch.setattr("spurious_rewards.workflow.reproduce.hardware", lambda: {"gpus": [], "memory_gb": 16.0})
    sentences = missing_requirements(profile("requires: [gpu]" + STAGES))
    assert sentences == ["Profile toy needs a GPU, and nvidia-smi lists none; run it where there is one."]


def test_data_that_cannot_be_had_are_named_before_anything_runs(profile, project, monkeypatch, capsys):
    found = profile("requires: [data]" + STAGES)
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(project / "cache"))
    (sentence,) = missing_requirements(found)
    assert sentence.startswith("Profile toy needs data that are not here, and the Hugging Face hub cannot be reached;")
    reproduce("toy", 1, dry_run=True)
    assert "This machine can run it." not in capsys.readouterr().out
    (project / "cache" / "math").mkdir(parents=True)  # of an earlier download
    assert missing_requirements(found) == []
    monkeypatch.setenv("HF_DATASETS_CACHE", str(project / "other"))
    monkeypatch.setenv("SPURIOUS_DATA_DIR", str(project))
    assert missing_requirements(found) == []


def test_a_dry_run_runs_nothing(profile, project, capsys):
    profile()
    reproduce("toy", 1, dry_run=True)
    assert "3 jobs\nThis machine can run it.\n" in capsys.readouterr().out
    assert not (project / "runs" / "profiles").exists()


def test_reading_finished_jobs_asks_no_notebook(profile, project):
    found = profile()
    done = {"profile": "toy", "job": "train-seed0", "run_ids": ["a"]}
    write_json(found.jobs[0].result_file, done)
    (project / "notebooks" / "train.ipynb").unlink()  # today's notebooks do not matter to yesterday's records
    assert [job.parameters for job in read_profile("toy").jobs] == [{"seed": 0}, {"seed": 1}, {}]
    assert job_results("toy") == [done] and job_result("toy/train-seed0") == done
    with pytest.raises(InputError, match="There is no notebook"):
        load_profile("toy")


def test_progress_is_told_from_the_files_of_the_jobs(profile, capsys, monkeypatch):
    found = profile("stages: {train: {notebook: train, grid: {seed: [0, 1, 2]}, resources: {minutes: 2}}}")
    first, second, third = found.jobs
    write_json(first.result_file, {})  # done in an earlier session
    write_json(second.state_file, {"state": "failed", "sentence": "of an earlier session"})
    now = [100.0]
    monkeypatch.setattr("spurious_rewards.workflow.progress.time.monotonic", lambda: now[0])
    progress = Progress(found)
    progress.poll()
    write_json(second.state_file, {"state": "running"})
    now[0] += 61
    progress.poll()
    assert capsys.readouterr().out == "0/2 done, 1:01 elapsed; running: train-seed1\n"  # after a minute of silence
    write_json(second.result_file, {})
    write_json(third.state_file, {"state": "failed", "sentence": "No."})
    now[0] += 179
    progress.poll()
    # half of the expected minutes are done in 4:00, so 4:00 are left
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] train-seed1, 4:00 elapsed, about 4:00 left",
        "[2/2] train-seed2 failed: No., 4:00 elapsed, about 4:00 left",
    ]
