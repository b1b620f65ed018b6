"""Training logs of other tools under our names."""

import json

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.metrics import METRICS, read_metrics
from spurious_rewards.reporting import foreign_metrics
from spurious_rewards.reporting.collect import Records

TRL = {
    "reward": 0.5, "entropy": 0.9, "clip_ratio/region_mean": 0.01, "clip_ratio/high_mean": 0.006,
    "clip_ratio/low_mean": 0.004, "completions/mean_length": 120.0, "completions/clipped_ratio": 0.25, "loss": 0.1,
}  # fmt: skip
VERL = {
    "critic/rewards/mean": 0.5, "critic/score/mean": 0.7, "actor/entropy": 0.9, "actor/pg_clipfrac": 0.01,
    "actor/pg_clipfrac_lower": 0.3, "actor/ppo_kl": 0.001, "response_length/mean": 120.0,
    "response_length/clip_ratio": 0.25,
}  # fmt: skip
OPENRLHF = {
    "train/reward": 0.5, "train/policy_loss": 0.1, "train/ppo_clip_ratio": 0.01, "train/ppo_kl": 0.001,
    "train/entropy_loss": 0.9, "train/response_length": 120.0,
}  # fmt: skip
COMMON = {"reward": 0.5, "entropy": 0.9, "clip_fraction": 0.01, "tokens": 120.0}


def first(table):
    return table.iloc[0].to_dict()


def test_log_history_of_a_trainer_state(tmp_path):
    history = [{"step": 1, **TRL}, {"step": 2, **TRL, "reward": 0.6}, {"step": 2, "train_runtime": 9.0}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 2, "log_history": history}))
    table = read_metrics(tmp_path / "trainer_state.json")
    assert table["reward"].tolist() == [0.5, 0.6] and table["step"].tolist() == [1, 2]
    assert first(table) | COMMON == first(table)
    assert (table["clip_fraction_high"][0], table["cut_off"][0]) == (0.006, 0.25)


def test_verl_names_and_what_its_lower_clip_fraction_is_not(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"step": i, "data": VERL}) + "\n" for i in (2, 1)))
    table = read_metrics(tmp_path / "a.jsonl")
    assert table["step"].tolist() == [1, 2] and first(table) | COMMON == first(table)
    assert "clip_fraction_low" not in table and table["kl_old"][0] == 0.001


def test_openrlhf_names(tmp_path):
    (tmp_path / "a.csv").write_text(
        "train/global_step," + ",".join(OPENRLHF) + "\n1," + ",".join(map(str, OPENRLHF.values()))
    )
    table = read_metrics(tmp_path / "a.csv")
    assert first(table) | COMMON == first(table)


def test_trackio_parquet_with_several_runs_and_with_metrics_as_json(tmp_path):
    flat = pd.DataFrame([{"timestamp": "t", "run_name": run, "step": 1, **{f"train/{k}": v for k, v in TRL.items()}}
                         for run in ("a", "b")])  # fmt: skip
    flat.to_parquet(tmp_path / "flat.parquet")
    folded = pd.DataFrame([{"run_name": run, "step": 1, "metrics": json.dumps(TRL)} for run in ("a", "b")])
    folded.to_parquet(tmp_path / "folded.parquet")
    one, two = read_metrics(tmp_path / "flat.parquet"), read_metrics(tmp_path / "folded.parquet")
    assert one["run"].tolist() == ["a", "b"] and one.equals(two)


def test_the_csv_of_a_chart(tmp_path):
    header = '"Step","mine - train/reward","mine - train/reward__MIN","mine - train/reward__MAX","other - train/reward"'
    (tmp_path / "chart.csv").write_text(f'{header}\n"1","0.5","0","1","0.2"\n"2","0.6","0","1",""\n')
    table = read_metrics(tmp_path / "chart.csv")
    assert table.to_dict("list") == {"run": ["mine", "mine", "other"], "step": [1, 2, 1], "reward": [0.5, 0.6, 0.2]}


def test_numbers_that_are_none_are_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("step,reward_avg,entropy_avg\n1,0.5,nan\n2,,\n3,inf,0.2\n")
    table = read_metrics(tmp_path / "a.csv")
    assert table["step"].tolist() == [1, 3]
    assert table["reward"].isna().tolist() == [False, True]


def test_a_file_without_metrics_is_one_sentence(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n1,0.5\n")
    with pytest.raises(
        InputError, match="a.csv holds no metric of a training that is known here; its columns are step, loss"
    ):
        read_metrics(tmp_path / "a.csv")


def test_every_metric_has_words_and_no_name_two_meanings():
    assert set(foreign_metrics.WORDS) == set(METRICS)
    names = [name for names in METRICS.values() for name in names.split()]
    assert len(names) == len(set(names))


def test_a_log_is_drawn_beside_ours(tmp_path):
    runs = pd.DataFrame({"run_id": ["r0", "r1", "n0"], "clip_mode": ["two_sided", "two_sided", "none"]})
    metrics = pd.DataFrame(
        [{"run_id": run, "update": u, "reward_mean": reward if u == 1 else None, "entropy": 1.0, "clip_fraction": 0.0,
          "completion_tokens": 10.0, "ended_share": 0.75}
         for run, reward in (("r0", 0.2), ("r1", 0.4), ("n0", 0.6)) for u in (1, 2)]
    )  # fmt: skip
    records = Records("micro", runs, metrics, pd.DataFrame(), {}, pd.DataFrame())
    mine = foreign_metrics.ours(records)
    assert mine.groupby("clip_mode")["reward"].first().round(9).to_dict() == {"none": 0.6, "two_sided": 0.3}
    assert mine["cut_off"].unique() == [0.25]
    log = pd.DataFrame({"run": [f"run {i}" for i in range(5)], "step": 1.0, "reward": 0.5, "tokens": 9.0})
    figure = foreign_metrics.beside_log(records, log)
    assert list(figure.data[0].x) == [1]  # logged at the first update of a rollout batch only
    assert len(figure.data) == 2 * (2 + 4)  # two metrics: two clip modes of ours, the first four runs of the log
    assert "1 further runs of the log are not drawn" in figure.layout.title.text
