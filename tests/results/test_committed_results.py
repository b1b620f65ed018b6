"""Every committed number leads back to a run: tables are recomputed from the committed records and compared."""

import html
import json
import re
from functools import cache

import pandas as pd
import pytest

from spurious_rewards.reporting import collect, report
from spurious_rewards.reporting.report import all_tables
from spurious_rewards.reporting.site import render
from spurious_rewards.reporting.verify import verify
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"
PROFILES = collect.saved_profiles(RESULTS)
TRAINED = [profile for profile in PROFILES if len(collect.load(profile, RESULTS).runs)]


@cache
def tables_of(profile):
    """The tables of a profile, computed once for all tests of this file."""
    return all_tables(collect.load(profile, RESULTS))


def test_the_default_profile_is_committed():
    assert "micro" in PROFILES and {"micro", "smollm-smoke"} <= set(TRAINED)


def test_tables_and_pages_are_those_of_the_records():
    """As `python -m spurious_rewards.reporting.verify` says: nothing differs, and something makes every file."""
    checks = verify(RESULTS)
    wrong = [f"{check.path}: {check.note}" for check in checks if not check.fine]
    assert not wrong, "\n".join(wrong)
    counts = pd.Series([check.status for check in checks]).value_counts()
    assert counts["same"] + counts.get("close", 0) > 100


@pytest.mark.parametrize("profile", PROFILES)
def test_every_run_behind_a_number_has_its_manifest(profile):
    records = collect.load(profile, RESULTS)
    needed = (
        set(records.runs.get("run_id", []))
        | set(records.samples["run_id"])
        | set(records.samples["trained_run"].dropna()) - {""}
    )
    assert needed <= set(records.manifests)
    for manifest in records.manifests.values():
        assert {"commit", "dirty", "lock_hashes", "versions", "hardware", "seconds", "started"} <= set(manifest)
        assert re.fullmatch(r"[0-9a-f]{40}", manifest["commit"])


@pytest.mark.parametrize("profile", TRAINED)
def test_arms_of_the_ablation_are_comparable_and_the_clip_acts(profile):
    tables = tables_of(profile)
    modes = collect.load(profile, RESULTS).runs["clip_mode"].nunique()
    assert ("first_updates" in tables) == (modes > 1), "with one clip mode there is nothing to compare"
    assert tables.get("first_updates", {"equal": pd.Series(dtype=bool)})["equal"].all()
    activity = tables["clip_activity"]
    assert (activity["clip_fraction_update_1_max"] == 0).all()
    unclipped = activity["arm"].str.contains("none")
    later = activity["clip_fraction_later_mean"].dropna()  # with one update per rollout batch there is no later one
    assert (later[unclipped] == 0).all() and len(later) >= len(activity) - 2
    if profile == "micro":
        assert (activity.loc[~unclipped, "clip_fraction_later_mean"] > 0).all()


PAGES = render(RESULTS)


def test_no_page_is_left_over():
    assert {path.relative_to(RESULTS).as_posix() for path in (RESULTS / "site").iterdir()} <= set(PAGES)


@pytest.mark.parametrize("name", [name for name in PAGES if name.endswith(".html")])
def test_the_pages_link_to_files_that_exist(name):
    links = re.findall(r'(?:href|src)="([^"#]+)', PAGES[name])
    links = [link for link in links if not link.startswith(("http", "data:"))]
    assert links and not [link for link in links if not ((RESULTS / name).parent / link).exists()]


def test_the_first_page_is_small_enough_for_a_phone():
    assert len(PAGES["index.html"].encode()) < 1_000_000


@pytest.mark.parametrize("name", [name for name in PAGES if name.endswith(".html")])
def test_sentences_of_the_pages_are_short(name):
    for sentence in sentences(PAGES[name]):
        assert len(sentence.split()) <= 40, sentence
        assert len(re.findall(r"(?<![\w.])[+−-]?\d[\d.,]*", without_limits(sentence))) <= 3, sentence


def sentences(page: str) -> list[str]:
    """The sentences of a page's paragraphs, lists, definitions, captions and cells; commands are left out.

    A cell of a table is a sentence if it begins with a capital letter and ends with a full stop.
    """
    page = re.sub(r"(?s)<(script|style|code|pre|a)\b.*?</\1>", " ", page)
    cells = [text for text in texts_in("td", page) if re.fullmatch(r"[A-Z].* .*[.!?]", text)]
    page = re.sub(r"(?s)<(table)\b.*?</\1>", " ", page)
    texts = texts_in("p|li|dd|figcaption|h[123]", page) + cells
    return [part for text in texts for part in re.split(r"(?<=[.!?;])\s+(?=[A-Z“C])|;\s", text) if part.strip()]


def texts_in(tags: str, page: str) -> list[str]:
    """The texts of all elements of these tags, without what is marked up inside."""
    blocks = [block for _, block in re.findall(rf"(?s)<({tags})\b[^>]*>(.*?)</\1>", page)]
    return [re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", block))).strip() for block in blocks]


def without_limits(text: str) -> str:
    """Cut the limits of numbers out of a sentence, the words "95 %", and names that hold digits."""
    names = r"\[[^\]]*\]|95 %|γ = [\d.]+|[A-Za-z]+-?\d[\w-]*|step size \S+|learning_rate=\S+|(?:[Ff]ig|Table)s? [\d–, and]+"
    return re.sub(names, "", text)


def test_no_machine_path_is_committed():
    for path in RESULTS.rglob("*"):
        if path.suffix in {".json", ".csv", ".md", ".ipynb", ".html"} and path.name != "plotly.min.js":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(home|root|Users|work)/\w", text), path
            if path.suffix == ".json":
                json.loads(text)


def test_captions_cover_every_table():
    assert {name for profile in PROFILES for name in tables_of(profile)} <= set(report.CAPTIONS)
