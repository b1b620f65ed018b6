"""Writing: files, the page, figures with and without a browser."""

import dataclasses
import re
import shutil

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting import collect, drawing, figures, report
from spurious_rewards.reporting.report import all_tables
from spurious_rewards.reporting.site import render


def written(records, tmp_path, monkeypatch, browser=None):
    monkeypatch.setattr(drawing, "browser_path", lambda: browser)
    monkeypatch.setenv("BROWSER_PATH", "")  # drawing sets it; this test alone shall see that
    collect.save(records, tmp_path)
    report.write_tables(all_tables(records), tmp_path / "tables" / "toy")
    return drawing.write(figures.all_figures(records), tmp_path / "figures" / "toy")


def test_the_pages_show_tables_and_figures(records, tmp_path, monkeypatch):
    note = written(records, tmp_path, monkeypatch)
    assert "No PNG was written" in note and "BROWSER_PATH" in note
    first = report.rebuild(tmp_path).read_text()
    for part in (
        "Why does RLVR improve",
        "with clip",
        "without clip",
        "+37.5",
        "make reproduce",
        "not run",
        "commit abc",
    ):
        assert part in first, part
    assert {f"C{i}" for i in range(1, 12)} <= set(re.findall(r'id="([^"]+)"', first))
    profile = (tmp_path / "site/profile-toy.html").read_text()
    assert "../figures/toy/clip_by_update.html" in profile and "../tables/toy/arms.csv" in profile
    verdicts = profile.index("What the claims got")
    assert profile.index("clip_on_off.html") < verdicts < profile.index("outcomes.html"), "below the first figure"
    assert profile.count("../tables/toy/tests.csv") == 1 and '<span class="verdict undecided">' in profile[verdicts:]
    page = (tmp_path / "figures/toy/clip_by_update.html").read_text()
    assert "../plotly.min.js" in page and "http" not in page.split("</head>")[0] and len(page) < 100_000
    assert (tmp_path / "figures/plotly.min.js").stat().st_size > 1_000_000


def test_verdicts_without_a_figure_stay_on_the_page(records, tmp_path, monkeypatch):
    written(records, tmp_path, monkeypatch)
    report.rebuild(tmp_path)
    for path in (tmp_path / "figures" / "toy").glob("*"):
        path.unlink()
    page = render(tmp_path)["site/profile-toy.html"]
    assert "<figure>" not in page and page.count("What the claims got</h2>") == 1


def test_tables_can_be_recomputed_from_the_saved_records(records, tmp_path, monkeypatch):
    written(records, tmp_path, monkeypatch)
    again = all_tables(collect.load("toy", tmp_path))
    for name, table in again.items():
        assert table.to_csv(index=False) == (tmp_path / "tables/toy" / f"{name}.csv").read_text()


def test_no_picture_or_table_of_other_runs_stays(records, tmp_path, monkeypatch):
    drawings = []
    monkeypatch.setattr(drawing, "png", lambda figure: drawings.append(1) or b"\x89PNG old")
    written(records, tmp_path, monkeypatch, browser="/bin/true")
    folder, first = tmp_path / "figures" / "toy", len(drawings)
    (folder / "gone.html").touch()
    (folder / "gone.png").touch()
    (tmp_path / "tables" / "toy" / "gone.csv").touch()
    assert first == len(list(folder.glob("*.png"))) - 1 > 3
    written(records, tmp_path, monkeypatch, browser="/bin/true")
    assert len(drawings) == first and not (folder / "gone.html").exists(), "the same data are not drawn again"
    # other data, no browser: the old pictures go, unchanged ones stay
    changed = dataclasses.replace(records, samples=records.samples.assign(correct=False))
    written(changed, tmp_path, monkeypatch)
    assert not (folder / "outcomes.png").exists() and (folder / "clip_by_update.png").exists()
    report.rebuild(tmp_path)
    page = (tmp_path / "site" / "profile-toy.html").read_text()
    assert "figures/toy/outcomes.png" not in page and "figures/toy/outcomes.html" in page
    assert not (tmp_path / "tables" / "toy" / "gone.csv").exists() and "gone" not in page


def test_old_manifests_of_a_profile_go(records, tmp_path):
    folder = tmp_path / "manifests" / "toy"
    folder.mkdir(parents=True)
    (folder / "gone.json").write_text("{}")
    collect.save(records, tmp_path)
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted(records.manifests)


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("manifests/toy/clip-0.json", '{"run_id": ', "clip-0.json is damaged"),
        ("manifests/toy/clip-0.json", '{"run_id": "clip-1"}', "clip-0.json is not the manifest of run clip-0"),
        ("manifests/toy/clip-0.json", None, "clip-0.json is missing"),
        ("records/toy/samples.parquet", "", "samples.parquet is missing or damaged"),
        ("records/toy/metrics.parquet", None, "metrics.parquet is missing or damaged"),
    ],
)
def test_damaged_records_are_one_sentence(records, tmp_path, file, text, sentence):
    collect.save(records, tmp_path)
    collect.load("toy", tmp_path)
    (tmp_path / file).unlink() if text is None else (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=f"{sentence}.*restore it from git"):
        collect.load("toy", tmp_path)


def test_records_of_another_kind_are_one_sentence(records, tmp_path):
    collect.save(records, tmp_path)
    shutil.copy(tmp_path / "records/toy/runs.parquet", tmp_path / "records/toy/metrics.parquet")
    with pytest.raises(InputError, match="metrics.parquet has no column update, so it is another table"):
        collect.load("toy", tmp_path)


def test_missing_records(tmp_path):
    with pytest.raises(InputError, match="make reproduce PROFILE=nothing"):
        collect.load("nothing", tmp_path)


def test_markdown_cells():
    table = pd.DataFrame({"a": ["x|y", None], "b": [0.123456, float("inf")]})
    assert report.markdown(table) == "| a | b |\n| --- | --- |\n| x\\|y | 0.1235 |\n| – | ∞ |\n"


@pytest.mark.browser
def test_png_where_a_browser_exists(records, tmp_path, monkeypatch):
    browser = drawing.browser_path()
    assert browser, "make test-browser needs a Chrome-family browser (BROWSER_PATH)"
    note = written(records, tmp_path, monkeypatch, browser)
    assert "PNGs were written" in note
    first = (tmp_path / "figures/toy/outcomes.png").read_bytes()
    assert first.startswith(b"\x89PNG") and len(first) > 5_000
    shutil.rmtree(tmp_path / "figures")
    written(records, tmp_path, monkeypatch, browser)
    assert (tmp_path / "figures/toy/outcomes.png").read_bytes() == first, "PNGs are byte-stable"


def test_a_damaged_page_of_a_figure_is_written_again(records, tmp_path, monkeypatch):
    written(records, tmp_path, monkeypatch)
    page = tmp_path / "figures/toy/clip_by_update.html"
    before = page.read_bytes()
    page.write_bytes(b"\xe1\xff noise")
    written(records, tmp_path, monkeypatch)
    assert page.read_bytes() == before
