"""Several prompts for one model, and evaluations to show beside one another."""

import pytest
from tiny_lm import save_tiny

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.evaluation.parts import prompt_fingerprint
from spurious_rewards.evaluation.prompt_grid import context_length, named_styles, note_refused, usable_styles
from spurious_rewards.evaluation.trained import evaluations_beside
from spurious_rewards.models.prompts import PROMPT_STYLES
from spurious_rewards.storage.files import write_json
from spurious_rewards.storage.runs import RunFolder


def cell(tiny, **fields):
    return EvalConfig(**{"model": str(tiny), "n_problems": 3, "max_new_tokens": 8, "batch_size": 4, **fields})


def test_names():
    assert named_styles("organism") == ["organism"] and named_styles(" sober,none ") == ["sober", "none"]
    assert named_styles("all") == list(PROMPT_STYLES)
    for wrong in ("", "none, none"):
        with pytest.raises(InputError, match="prompt_style must name"):
            named_styles(wrong)
    with pytest.raises(InputError, match="did you mean 'sober'"):
        named_styles("none, sobr")


def test_all_leaves_out_what_does_not_fit_and_says_why(tiny):
    assert context_length(str(tiny)) == 128
    usable, refused = usable_styles("all", cell(tiny))
    assert {"organism", "none", "qwen_default", "organism_python"} <= set(usable)
    assert set(refused) == {"sober", "lipsum", "r1", "worked_examples"} and not set(usable) & set(refused)
    assert all("exceeds the model's context of 128" in sentence for sentence in refused.values())
    # what is asked for by name is not silently dropped: it is an error when it is evaluated
    assert usable_styles("organism, lipsum", cell(tiny)) == (["organism", "lipsum"], {})


def test_what_was_refused_is_kept_as_a_run(tiny, runs):
    first = cell(tiny)
    _, refused = usable_styles("all", first)
    (run,) = note_refused(first, refused)
    manifest = run.manifest()
    assert (manifest["kind"], manifest["refused"]) == ("refused_prompts", refused)
    assert (manifest["config"]["max_new_tokens"], manifest["config"]["prompt_style"]) == (8, "all")
    assert run.run_id.startswith("refused-tiny-synthetic-test-")
    assert [again.run_id for again in note_refused(first, refused)] == [run.run_id]
    shorter = note_refused(cell(tiny, max_new_tokens=4), refused)
    assert shorter[0].run_id != run.run_id and note_refused(first, {}) == []


def test_a_prompt_that_is_too_long_by_itself_gets_advice_that_can_be_followed(tiny, runs, capfd):
    _, refused = usable_styles("all", cell(tiny))
    assert (
        "with a single new one that exceeds" in refused["lipsum"]
        and "another, shorter prompt style" in refused["lipsum"]
        and "at most 0" not in refused["lipsum"]
    )
    _, refused = usable_styles("all", cell(tiny, max_new_tokens=120))  # the prompt alone would fit
    assert "lower max_new_tokens to at most" in refused["organism"]
    assert "longer than the specified maximum" not in "".join(capfd.readouterr())


def test_all_without_a_chat_template(tmp_path):
    folder = save_tiny(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    usable, refused = usable_styles("all", cell(folder, max_new_tokens=4))
    assert {"none", "math_problem", "simplerl"} <= set(usable)
    assert "has no chat template" in refused["qwen_default"] and "has no chat template" in refused["organism"]


def test_a_refused_style_asked_for_by_name_is_an_error(tiny, runs):
    with pytest.raises(InputError, match="exceeds the model's context of 128"):
        evaluate(cell(tiny, prompt_style="lipsum"), progress=False)


def trained_run(tiny, tmp_path):
    run = RunFolder.open(
        "train-tiny-format-two_sided-s0-0123456789",
        {"model": str(tiny), "reward": "format", "gamma": 0.5, "clip_mode": "two_sided", "seed": 0},
    )
    save_tiny(run.path("model"), seed=1)
    run.finish({"kind": "training"})
    return run


def test_evaluations_beside_a_cell(tiny, runs, tmp_path):
    train = trained_run(tiny, tmp_path)
    own = cell(tiny, trained_run=train.run_id)
    assert evaluations_beside("", own) == []
    base, again = (evaluations_beside(name, own, progress=False) for name in ("base", "base, base"))
    assert [run.run_id for run in again] == [run.run_id for run in base] == [cell(tiny).eval_id()]
    (after,) = evaluations_beside(train.run_id, cell(tiny), progress=False)
    assert after.config()["trained_run"] == train.run_id
    assert [run.run_id for run in evaluations_beside(f"{base[0].run_id}, {after.run_id}", own)] == [
        base[0].run_id,
        after.run_id,
    ]


def test_a_job_stands_for_its_evaluation_of_the_same_decoding(tiny, runs):
    greedy = evaluate(cell(tiny), progress=False)
    sampled = evaluate(cell(tiny, temperature=1.0, n_samples=2), progress=False)
    (refusal,) = note_refused(cell(tiny), {"lipsum": "Too long."})
    ids = [greedy.run_id, sampled.run_id, refusal.run_id]
    write_json(runs / "profiles/toy/jobs/base.json", {"profile": "toy", "job": "base", "run_ids": ids})
    assert [run.run_id for run in evaluations_beside("toy/base", cell(tiny))] == [greedy.run_id]


def test_what_cannot_stand_beside(tiny, runs):
    other = evaluate(cell(tiny, n_problems=2), progress=False)
    with pytest.raises(InputError, match="on other problems .n_problems is 2 there, 3 here"):
        evaluations_beside(other.run_id, cell(tiny))
    with pytest.raises(InputError, match="There is no run 'eval-nothing'"):
        evaluations_beside("eval-nothing", cell(tiny))
    labels = RunFolder.open("labels-x", {})
    labels.finish({"kind": "labels"})
    with pytest.raises(InputError, match="no evaluation and no training"):
        evaluations_beside("labels-x", cell(tiny))


def test_a_style_without_worked_examples_has_the_hash_it_always_had():
    """Runs of earlier versions are found again: the hash is that of their manifests."""
    assert prompt_fingerprint("organism") == "2a19d2dd42c47988da562204556dd288d5bfca42ca3897e7f355b0526be1334a"
    assert len({prompt_fingerprint(style) for style in PROMPT_STYLES}) == len(PROMPT_STYLES)
