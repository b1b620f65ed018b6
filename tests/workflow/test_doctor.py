"""The doctor's findings."""

from importlib.metadata import version

from spurious_rewards.workflow.doctor import browser_path, lock_differences, report


def test_a_lock_file_that_was_not_installed_is_seen(tmp_path):
    lock = tmp_path / "cpu.lock.txt"
    lock.write_text(
        f"numpy=={version('numpy')}\nnumpy==0.1 ; python_full_version < '3'\ntorch=={version('torch').split('+')[0]}\n"
        "papermill==0.1  # old\nnot-installed==1.0\n"
    )
    assert lock_differences(lock) == [f"papermill: {version('papermill')} is installed, cpu.lock.txt wants 0.1"]


def test_the_browser_is_the_one_that_is_named(tmp_path, monkeypatch):
    program = tmp_path / "chromium"
    program.touch(mode=0o755)
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser_path() == str(program)
    other = tmp_path / "other"
    monkeypatch.setenv("BROWSER_PATH", str(other))
    assert browser_path() == str(program), "the one that is named is not there"
    other.touch(mode=0o755)
    assert browser_path() == str(other)
    other.unlink()
    program.unlink()
    assert browser_path() is None


def test_every_line_has_a_finding(project, monkeypatch):
    monkeypatch.setenv("SPURIOUS_DATA_DIR", str(project / "gone"))
    found = dict(report())
    assert "NOT a folder" in found["Data"] and str(project / "runs") in found["Runs"]
    assert all(found.values())
