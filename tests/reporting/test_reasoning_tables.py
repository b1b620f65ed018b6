"""The tables of the code-reasoning analysis from hand-made records, with the arithmetic, and the paper's own tables."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.evaluation.statistics import proportion_difference, wilson
from spurious_rewards.reporting import collect
from spurious_rewards.reporting import paper_tables as paper
from spurious_rewards.reporting import reasoning_figures as figures
from spurious_rewards.reporting import reasoning_tables as rt
from spurious_rewards.reporting.arms import BASE
from spurious_rewards.reporting.claims import claims_table
from spurious_rewards.reporting.report import CAPTIONS, all_tables
from spurious_rewards.reporting.tables import arms


def cells(by_style, model="qwen-like"):
    """Greedy base evaluations: prompt style → list of (correct, code), one problem each."""
    return pd.DataFrame(
        [
            {
                "problem_id": f"p{i}",
                "sample": 0,
                "seed": 0,
                "n_tokens": 10,
                "finish_reason": "length" if style == "none" else "stop",
                "correct": bool(right),
                "correct_paper": bool(right),
                "uses_code": bool(code),
                "uses_code_structural": bool(code),
                "boxed": True,
                "extracted": None if style == "none" else "1",
                "gold": "1",
                "reason": "x",
                "run_id": f"eval-{model}-{style}",
                "model": model,
                "trained_run": "",
                "benchmark": "synthetic_test",
                "prompt_style": style,
                "temperature": 0.0,
                "checkpoint": 0,
                "engine": "transformers",
                "dtype": "float32",
                "max_new_tokens": 64,
            }
            for style, answers in by_style.items()
            for i, (right, code) in enumerate(answers)
        ]
    )


def base_only(records, samples):
    return dataclasses.replace(records, runs=records.runs.iloc[:0], metrics=pd.DataFrame(), samples=samples)


# 20 problems: 10 code answers (9 right), 10 language answers (2 right); forced: 19 code answers right, one wrong
OWN = [(1, 1)] * 9 + [(0, 1)] + [(1, 0)] * 2 + [(0, 0)] * 8
FORCED = [(0, 1)] + [(1, 1)] * 19


def test_strategies_of_the_toy_records(records):
    table = rt.strategies(records).set_index("arm")
    assert table.index.tolist() == [BASE, "random γ=0.5, two_sided", "random γ=0.5, none"]
    # base: code on p0..p2 (right 1, 1, 0), language on p3 (wrong)
    base = table.loc[BASE]
    assert (base["code"], base["accuracy"], base["accuracy_code"], base["accuracy_language"]) == (0.75, 0.5, 2 / 3, 0.0)
    assert (base["n_code"], base["n_language"], base["n_seeds"]) == (3, 1, 1)
    assert base["accuracy_code_low"] == pytest.approx(wilson(2, 3).low)
    assert base["kappa"] == 1.0 and base["detectors_agree"] == 1.0
    # none: seed 0 code on p0, p1; seed 1 on p0..p2; right: p0 | p0, p1
    none = table.loc["random γ=0.5, none"]
    assert (none["code"], none["accuracy"], none["accuracy_code"]) == (5 / 8, 3 / 8, 3 / 5)
    assert none["n_answers"] == 8 and none["n_problems"] == 4
    assert np.isnan(table.loc["random γ=0.5, two_sided", "kappa"]), "both detectors always say code"
    assert table["identity_holds"].all()


def test_switches_add_up_to_the_gain(records):
    table = rt.switches(records)
    assert len(table) == 8 and "clip_mode" not in table
    clip = table[table["arm"] == "random γ=0.5, two_sided"].set_index("switch")
    # base code 1 1 1 0 → clip 1 1 1 1 in both seeds: CC p0, p1, p2 twice, LC p3 twice. Right: CC (1 1 0) → (1 1 1) in
    # both seeds: +2 of 8; LC 0 → (0 | 1): +1 of 8
    assert clip["n"].to_dict() == {"CC": 6, "CL": 0, "LC": 2, "LL": 0}
    assert clip["gain"].to_dict() == {"CC": 0.25, "CL": 0.0, "LC": 0.125, "LL": 0.0}
    assert clip["contribution"].to_dict() == pytest.approx({"CC": 2 / 3, "CL": 0, "LC": 1 / 3, "LL": 0})
    assert clip["accuracy_before"]["CC"] == pytest.approx(4 / 6) and clip["accuracy_after"]["LC"] == 0.5
    assert (clip["total_gain"] == 0.375).all() and (clip["n_seeds"] == 2).all() and (clip["n_problems"] == 4).all()
    assert table.groupby("arm")["gain"].sum().to_dict() == pytest.approx(
        arms(records).set_index("arm")["accuracy_change"].dropna().to_dict()
    )


def many(records, n=40, seeds=2):
    """Some seeds of one arm on n problems: language → code on the second half, all of these become right."""
    half, clip = n // 2, records.runs[records.runs["clip_mode"] == "two_sided"]
    base = cells({"organism": [(1, 1)] * half + [(0, 0)] * half})
    after = [
        cells({"organism": [(1, 1)] * half + [(1, 1)] * (half - 2 * seed) + [(0, 0)] * 2 * seed}).assign(
            trained_run=f"clip-{seed}", run_id=f"eval-clip-{seed}"
        )
        for seed in range(seeds)
    ]
    return dataclasses.replace(
        records,
        samples=pd.concat([base, *after], ignore_index=True),
        runs=clip.iloc[[0] * seeds].assign(run_id=[f"clip-{seed}" for seed in range(seeds)], seed=range(seeds)),
    )


def test_contributions_of_arms_that_gained(records):
    assert rt.contributions(records).empty, "four problems cannot show a gain"
    (row,) = rt.contributions(many(records)).to_dict("records")
    # seed 0: 20 of 40 gained, seed 1: 18; all on LC
    assert row["gain"] == pytest.approx(38 / 80) and row["LC"] == 1.0 and row["CC"] == row["LL"] == row["CL"] == 0
    assert (row["n_arms"], row["arms"], row["n_problems"]) == (1, "random γ=0.5, two_sided", 40)
    gained = np.array([[0] * 20 + [1] * 20, [0] * 20 + [1] * 18 + [0] * 2])
    assert (row["n_seeds"], row["gain_low"], row["gain_high"]) == (2, effect(gained).low, effect(gained).high)
    table = claims_table([many(records)]).set_index("claim")
    assert table.loc["C7", "verdict"] == "undecided" and "100.0 [100.0, 100.0] %" in table.loc["C7", "measured"]
    assert table.loc["C7", "why"] == "2 seeds; a verdict takes 4."
    table = claims_table([many(records, seeds=4)]).set_index("claim")
    assert table.loc["C7", "verdict"] == "supported" and table.loc["C7", "n"] == "1 arms × 4 seeds × 40 problems"


def test_arms_of_other_settings_are_averaged_apart(records):
    """Two step sizes, of which one gained twice as much: a row each, and the claim's number is in one of them."""
    some = many(records, seeds=4)
    other = some.runs.assign(run_id=some.runs["run_id"] + "-b", learning_rate=3e-4)
    answers = some.samples[some.samples["trained_run"] != ""]
    answers = answers.assign(trained_run=answers["trained_run"] + "-b", run_id=answers["run_id"] + "-b")
    answers["correct"] &= ~answers["problem_id"].isin([f"p{i}" for i in range(20, 30)])
    both = dataclasses.replace(
        some, runs=pd.concat([some.runs, other], ignore_index=True),
        samples=pd.concat([some.samples, answers], ignore_index=True),
    )  # fmt: skip
    table = rt.contributions(both)
    assert list(table["setting"]) == ["step size 5e-7", "step size 3e-4"] and (table["n_arms"] == 1).all()
    assert table["gain"].iloc[0] == rt.contributions(some)["gain"].iloc[0] > table["gain"].iloc[1]
    rows = claims_table([both])
    assert sorted(rows.loc[rows["claim"].eq("C7"), "estimate"]) == sorted(table["LC"])


def test_behaviour_in_spans(records):
    table = rt.behaviour(records)
    # two rollout batches: code frequency 0.5 and 0.5 + 0.1 · 2 in every run
    assert table[["first_batch", "last_batch"]].drop_duplicates().to_numpy().tolist() == [[1, 1], [2, 2]]
    assert table["code_frequency"].tolist() == pytest.approx([0.5, 0.7] * 2)
    assert table["code_frequency_seed_min"].tolist() == pytest.approx([0.5, 0.7] * 2)
    assert (table["reward_mean"] == 0.5).all() and (table["n_seeds"] == 2).all()


def test_checkpoints_lie_between_base_and_end(records):
    assert rt.checkpoints(records).empty
    early = records.samples[records.samples["trained_run"] == "clip-0"].assign(
        checkpoint=2, run_id="eval-early", correct=[True, False, False, False]
    )
    runs = records.runs.assign(updates_per_batch=2)
    with_early = dataclasses.replace(records, runs=runs, samples=pd.concat([records.samples, early]))
    table = rt.checkpoints(with_early)
    assert table["arm"].unique().tolist() == ["random γ=0.5, two_sided"]
    # update 2 of 4 with 2 updates per rollout batch is batch 1; the end (3 of 4 right) is batch 2
    # the arm's other seed (4 of 4 right) has no checkpoint and stays out
    assert table["rollout_batch"].tolist() == [0, 1, 2] and table["accuracy"].tolist() == [0.5, 0.25, 0.75]
    assert table["n_seeds"].tolist() == [1, 1, 1]
    pd.testing.assert_frame_equal(arms(with_early), arms(dataclasses.replace(records, runs=runs)))


def test_forced_code_against_its_twin(records):
    samples = cells({"organism": OWN, "organism_python": FORCED, "python_prefix": FORCED, "none": OWN})
    (row,) = rt.forced_code(base_only(records, samples)).to_dict("records")  # python_prefix has no twin here
    assert (row["prompt_style"], row["forced"]) == ("organism", "organism_python")
    # 11 → 19 right; lost p0, won p9 and p12 … p19
    assert row["difference"] == pytest.approx(8 / 20) and (row["won"], row["lost"]) == (9, 1)
    # exact McNemar, 10 discordant, one on one side: 2 · (1 + 10)/1024
    assert row["p_value"] == pytest.approx(22 / 1024) and row["p_holm"] == row["p_value"]
    assert (row["accuracy"], row["accuracy_forced"], row["code"], row["code_forced"]) == (0.55, 0.95, 0.5, 1.0)
    assert (row["accuracy_code"], row["accuracy_language"]) == (0.9, 0.2)
    assert row["code_advantage"] == pytest.approx(0.7)
    assert 0 < row["code_advantage_low"] < 0.7 < row["code_advantage_high"]


def test_prompts_against_the_own_one_with_holm(records):
    worse = [(0, 0)] * 10 + OWN[10:]  # nine lost, none won: p = 2/512
    samples = cells({"organism": OWN, "organism_python": FORCED, "none": worse})
    table = rt.prompts(base_only(records, samples)).set_index("prompt_style")
    assert table.index.tolist() == ["organism", "organism_python", "none"]
    assert table["accuracy"].tolist() == [0.55, 0.95, 0.1]
    assert np.isnan(table.loc["organism", "difference"]) and table.loc["none", "difference"] == pytest.approx(-0.45)
    assert table["parsable"].tolist() == [1, 1, 0] and table["cut_off"].tolist() == [0, 0, 1]
    # smallest p times 2, then the larger one: 4/512 = 0.0078, 22/1024 = 0.0215
    assert table.loc["none", "p_holm"] == pytest.approx(4 / 512)
    assert table.loc["organism_python", "p_holm"] == pytest.approx(22 / 1024)
    interval = wilson(11, 20)
    assert (table.loc["organism", "accuracy_low"], table.loc["organism", "accuracy_high"]) == (
        interval.low,
        interval.high,
    )


def test_models_have_tables_of_their_own(records):
    two = pd.concat([cells({"organism": OWN, "none": OWN}), cells({"organism": FORCED, "none": OWN}, "llama-like")])
    table = rt.prompts(base_only(records, two))
    assert table["model"].tolist() == ["qwen-like"] * 2 + ["llama-like"] * 2
    assert table["difference"].dropna().tolist() == pytest.approx([0.0, -0.4])
    assert rt.strategies(base_only(records, two))["model"].nunique() == 2


def test_further_prompts_of_the_base_model_are_no_arms(records):
    more = pd.concat([records.samples, cells({"none": OWN[:4]})], ignore_index=True)
    pd.testing.assert_frame_equal(arms(dataclasses.replace(records, samples=more)), arms(records))


def test_claims_on_prompts(records):
    samples = cells({"organism": OWN * 3, "organism_python": FORCED * 3, "lipsum": [(0, 0)] * 60})
    samples["problem_id"] = [f"p{i}" for i in range(60)] * 3
    table = claims_table([base_only(records, samples)]).set_index("claim")
    assert table.loc["C8", "verdict"] == "supported" and "+40.0 [" in table.loc["C8", "measured"]
    assert table.loc["C11", "verdict"] == "contradicted" and "-55.0 [" in table.loc["C11", "measured"]
    hurt = samples.copy()  # forcing hurts although code answers are better: against the claim
    hurt.loc[hurt["prompt_style"] == "organism_python", "correct"] = False
    assert claims_table([base_only(records, hurt)]).set_index("claim").loc["C8", "verdict"] == "contradicted"
    assert (table.loc[["C1", "C3", "C7"], "verdict"] == "not run").all()


def test_the_gain_of_two_models(records):
    """qwen-like gains 37.5 points under the random reward with the clip, a second model 0: seeds 25 | 50 and 0 | 0."""
    twin_runs = records.runs.assign(model="llama-like", run_id="l-" + records.runs["run_id"])
    flat = records.samples[records.samples["trained_run"] == ""]
    twins = [
        flat.assign(model="llama-like", trained_run=f"l-{run}" if run else "", run_id=f"eval-l-{run}")
        for run in ("", "clip-0", "clip-1", "none-0", "none-1")
    ]
    both = dataclasses.replace(
        records,
        runs=pd.concat([records.runs, twin_runs], ignore_index=True),
        metrics=pd.concat([records.metrics, records.metrics.assign(run_id="l-" + records.metrics["run_id"])]),
        samples=pd.concat([records.samples, *twins], ignore_index=True),
    )
    row = claims_table([both]).set_index("claim").loc["C3"]
    assert "qwen-like minus llama-like +37.5 [" in row["measured"] and row["verdict"] == "undecided", "two seeds"


def probed(benchmark, matches, n=20, **columns):
    """Rows of a probe at 40 and 80 %; `matches` of n problems are completed at 80 %, none at 40 %."""
    return pd.DataFrame(
        [
            {
                "problem_id": f"{benchmark}-{i}",
                "percent": percent,
                "shown": percent / 100,
                "rest": "a b c" if i % 2 else "a b 7",
                "text": "a b c" if percent == 80 and i < matches else "x",
                "n_tokens": 8,
                "finish_reason": "length",
                "fits": True,
                "exact_match": percent == 80 and i < matches,
                "rouge_l": 0.5,
                "gold": "1",
                "extracted": "1",
                "correct": i < 2,
                "batch": 0,
                "run_id": f"probe-{benchmark}",
                "model": "m",
                "benchmark": benchmark,
                "boundary": "word",
                "max_new_tokens": 96,
                "engine": "vllm",
                "dtype": "float32",
                "batch_size": 64,
                **columns,
            }
            for i in range(n)
            for percent in (40, 80)
        ]
    )


def test_probe_table_comes_from_records(records):
    assert rt.probe(records).empty
    rows = pd.concat([probed("math500", 8), probed("synthetic_test", 2, n=40)], ignore_index=True)
    table = rt.probe(dataclasses.replace(records, probes=rows)).set_index(["benchmark", "percent"])
    assert table.index.tolist() == [("math500", 40), ("math500", 80), ("synthetic_test", 40), ("synthetic_test", 80)]
    row = table.loc[("math500", 80)]
    assert (row["n_problems"], row["exact_match"], row["accuracy"], row["cut_off"]) == (20, 0.4, 0.1, 1)
    assert row["shown"] == pytest.approx(0.8)
    # 8/20 − 2/40, 2/20 − 2/40, and 4/10 − 1/20 on the even problems, whose rest has a number; Newcombe's limits
    for name, counts in (
        ("exact_match", (8, 20, 2, 40)),
        ("accuracy", (2, 20, 2, 40)),
        ("exact_match_numbers", (4, 10, 1, 20)),
    ):
        interval = proportion_difference(*counts)
        assert row[[f"{name}_minus_clean{end}" for end in ("", "_low", "_high")]].tolist() == [
            interval.estimate,
            interval.low,
            interval.high,
        ]
    assert row["exact_match_minus_clean_low"] > 0 and table.loc[("math500", 40), "exact_match_minus_clean"] == 0
    assert np.isnan(table.loc[("synthetic_test", 80), "exact_match_minus_clean"])
    other = pd.concat([probed("math500", 8), probed("synthetic_test", 2, boundary="token")], ignore_index=True)
    assert "exact_match_minus_clean" not in rt.probe(dataclasses.replace(records, probes=other)), "cut in another way"


def test_probes_are_saved_and_loaded(records, tmp_path):
    whole = dataclasses.replace(records, probes=probed("math500", 8))
    collect.save(whole, tmp_path)
    pd.testing.assert_frame_equal(collect.load("toy", tmp_path).probes, whole.probes)
    collect.save(records, tmp_path)  # a profile that probes no longer
    assert collect.load("toy", tmp_path).probes.empty


def test_pass_at_k_of_sampled_cells(records):
    # two problems, four samples each: 1 and 2 right; the seeds of an arm: the same, and none right
    base = pd.concat(
        [
            cells({"organism": [(right, 0) for right in answers]}).assign(sample=i, temperature=1.0)
            for i, answers in enumerate([(1, 1), (0, 1), (0, 0), (0, 0)])
        ],
        ignore_index=True,
    )
    assert rt.pass_curves(base_only(records, cells({"organism": OWN}))).empty, "greedy"
    table = rt.pass_curves(base_only(records, base))
    assert table["k"].tolist() == [1, 2, 4] and (table["n_samples"] == 4).all() and (table["n_problems"] == 2).all()
    # pass@1 (1/4 + 2/4)/2, pass@2 (1 − 3/6 + 1 − 1/6)/2, pass@4 1
    assert table["pass_at_k"].tolist() == pytest.approx([3 / 8, 2 / 3, 1])
    assert table["pass_at_k_low"].iloc[2] < 1, "two problems do not prove certainty"
    seeds = [base.assign(trained_run=f"clip-{i}", run_id=f"e{i}", correct=base["correct"] & (i == 0)) for i in (0, 1)]
    both = dataclasses.replace(
        records,
        samples=pd.concat([base, *seeds], ignore_index=True),
        runs=records.runs[records.runs["clip_mode"] == "two_sided"],
    )
    arm = rt.pass_curves(both).query("arm != @BASE")
    assert arm["pass_at_k"].tolist() == pytest.approx([3 / 16, 1 / 3, 1 / 2]) and (arm["n_seeds"] == 2).all()


def test_refused_styles_are_rows_with_a_reason(records):
    manifest = {
        "kind": "refused_prompts",
        "refused": {"lipsum": "Too long.", "none": "Not this one."},
        "config": {
            "model": "qwen-like",
            "benchmark": "synthetic_test",
            "engine": "transformers",
            "dtype": "float32",
            "max_new_tokens": 64,
        },
    }
    other = {**manifest, "config": {**manifest["config"], "max_new_tokens": 32}, "refused": {"r1": "Elsewhere."}}
    base = base_only(records, cells({"organism": OWN, "none": OWN}))
    assert "reason" not in rt.with_refused(rt.prompts(base), base)
    known = dataclasses.replace(base, manifests={"refused-a": manifest, "refused-b": other})
    table = rt.tables(known)["prompts"]
    assert table["prompt_style"].tolist() == ["organism", "none", "lipsum"]
    assert table["reason"].tolist()[2] == "Too long." and table["reason"].isna().tolist() == [True, True, False]
    assert table["n_problems"].tolist() == [20, 20, 0] and table["accuracy"].isna().tolist() == [False, False, True]


def test_two_evaluations_of_one_cell_are_not_pooled(records):
    twice = pd.concat([cells({"organism": OWN, "none": OWN}), cells({"none": OWN}).assign(run_id="eval-other-batch")])
    for table in (rt.prompts, rt.forced_code):
        with pytest.raises(InputError, match="counted twice: eval-qwen-like-none and eval-other-batch"):
            table(base_only(records, twice))


def test_stored_summaries_disagree_with_damaged_records(records):
    samples = cells({"organism": OWN})
    known = dataclasses.replace(
        base_only(records, samples),
        manifests={"eval-qwen-like-organism": {"kind": "evaluation", "summary": {"accuracy": 11 / 20}}},
    )
    assert rt.stored_summaries(known)["identity_holds"].tolist() == [True]
    damaged = dataclasses.replace(known, samples=samples.assign(correct=[not OWN[0][0], *samples["correct"][1:]]))
    (row,) = rt.stored_summaries(damaged).to_dict("records")
    assert not row["identity_holds"] and row["identity_residual"] == pytest.approx(-5)  # one of twenty
    assert rt.strategies(damaged)["identity_holds"].all(), "by construction"


def test_every_table_has_a_caption_and_figures_exist_where_tables_do(records):
    samples = pd.concat([many(records).samples, cells({"organism_python": [(1, 1)] * 40, "none": [(0, 0)] * 40})])
    whole = dataclasses.replace(
        many(records), samples=samples, metrics=records.metrics[records.metrics["run_id"].isin(["clip-0", "clip-1"])]
    )
    names = set(all_tables(whole))
    assert {"strategies", "switches", "contributions", "behaviour", "forced_code", "prompts"} <= names <= set(CAPTIONS)
    drawn = figures.all_figures(whole)
    assert set(drawn) == {"strategies", "switches", "prompts"} and figures.behaviour_figure(whole) is not None
    bars = {bar.name: list(bar.x) for bar in drawn["switches"].data if bar.type == "bar"}
    assert bars["language → code"] == pytest.approx([47.5])
    assert set(figures.all_figures(base_only(records, samples[samples["trained_run"] == ""]))) == {
        "strategies",
        "prompts",
    }


def test_an_empty_table_says_what_is_missing(records):
    sentence = rt.or_reason(rt.prompts(records), "several prompts")
    assert sentence == "Nothing to show for this profile: it takes several prompts."


# ------------------------------------------------------------------------------------------------- the paper's tables


def test_the_papers_table_1_fails_its_identity_in_one_row():
    table = paper.paper_strategies().set_index("model")
    assert table.index[~table["identity_holds"]].tolist() == ["Qwen2.5-Math-7B"]
    # (49.4 − 0.65 · 60.9)/0.35 = 28.04
    assert f"{table.loc['Qwen2.5-Math-7B', 'language_implied']:.1f}" == "28.0"
    assert table["version"].unique().tolist() == ["v0=v1=v2"]


def test_the_papers_table_2_from_the_counts_of_fig_7():
    table = paper.paper_contributions()
    checked = table[table["model"] == "Qwen2.5-Math-7B"]
    assert len(checked) == 5 and checked["agrees"].all() and table["agrees"].notna().sum() == 5
    assert [f"{v:.1f}" for v in checked["recomputed"]] == ["11.6", "8.6", "58.3", "21.4", "23.5"]


def test_the_papers_prompts_and_forced_code():
    prompts = paper.paper_prompts().set_index("prompt_style")
    assert prompts.loc["lipsum", "difference"] == pytest.approx(19.4) and set(prompts["version"]) == {"v1"}
    forced = paper.paper_forced_code().set_index("model")
    assert len(forced) == 8 and forced.loc["Qwen2.5-Math-7B", "difference_v1"] == pytest.approx(15.0)
    assert (forced["difference_v1"] > 0).sum() == 3, "only the three that reason better in code or hardly at all"


def test_the_papers_released_seeds():
    mean, tail = paper.paper_released_seeds().to_dict("records")
    # on 68.7 61.3 69.5 70.3 53.2: mean 64.6; off: 13 runs, 624.0/13 = 48.0
    assert (mean["n_on"], mean["n_off"]) == (5, 13)
    assert mean["difference"] == pytest.approx(64.6 - 48.0)
    assert round(mean["p_value"], 2) == 0.20 and mean["difference_low"] < 0 < mean["difference_high"]
    # below 30: 0 of 5 and 13.4 13.8 16.6 18.5 28.0, 5 of 13; Fisher: C(13, 5)/C(18, 5) = .150 and the other tail
    assert (tail["clip_on"], tail["clip_off"]) == (0, pytest.approx(5 / 13)) and tail["p_value"] > 0.15
    # 2.80² · (5/13 · 8/13) / (5/13)² = 7.85 · .2367/.1479 = 12.6
    assert tail["seeds_to_decide"] == 13
