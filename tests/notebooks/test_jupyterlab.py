"""Every notebook in a real JupyterLab: Run All, figures visible; change a parameter; interrupt and run again.

A training runs about ten seconds in each; `make test-jupyterlab` runs all of them in about six minutes of two cores.
"""

import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import TimeoutError, sync_playwright

from spurious_rewards.storage.paths import code_root
from spurious_rewards.workflow.doctor import browser_path

pytestmark = [pytest.mark.jupyterlab, pytest.mark.timeout(1800)]

ROOT = code_root()
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
TOKEN = "test-of-the-notebooks"
SMALL = {
    "01_prepare_data": {"label_problems": 8, "label_samples": 3, "synthetic_n": 100},
    "02_train_grpo": {"rollout_batches": 12, "n_train_problems": 512},
    "03_evaluate": {"n_problems": 12, "n_samples": 2},
    "04_code_reasoning": {"probe_problems": 3},
}
"""Smaller values of parameters, so that all notebooks together take minutes."""
FIGURE = ".jp-OutputArea .js-plotly-plot .main-svg, .jp-OutputArea img[src^='data:image/png']"
FIGURES = {"01_prepare_data", "02_train_grpo", "03_evaluate", "04_code_reasoning", "06_clip_ablation"}
"""Notebooks that must show a figure of plotly's."""


def with_parameters(path, values):
    """Change defaults in the parameters cell of a notebook file, as a reader would by typing."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    [cell] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    source = "".join(cell["source"])
    for name, value in values.items():
        source, n = re.subn(rf"(?m)^({name}: \w+ = )[^#\n]*", lambda found, v=value: f"{found[1]}{v!r}  ", source)
        assert n == 1, f"{path.stem} has no parameter {name}"
    cell["source"] = source
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, so that nothing of the checkout is changed."""
    folder = tmp_path_factory.mktemp("lab") / "project"
    folder.mkdir()
    for name in ("lib", "notebooks", "profiles", "results", "requirements", "pyproject.toml", "Snakefile"):
        source = ROOT / name
        shutil.copytree(source, folder / name, symlinks=True) if source.is_dir() else shutil.copy(source, folder / name)
    for name, values in SMALL.items():
        with_parameters(folder / "notebooks" / f"{name}.ipynb", values)
    return folder


@pytest.fixture(scope="module")
def lab(project):
    """The address of a JupyterLab in the copy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = project.parent
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # Else cells that are out of sight are taken out of the page, and nothing can be read there.
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    environment = {
        **os.environ, "PYTHONPATH": str(project / "lib"), "SPURIOUS_RUNS_DIR": str(home / "runs"),
        "OMP_NUM_THREADS": "1", "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data"),
        "IPYTHONDIR": str(home / "ipython"), "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "BROWSER_PATH": browser_path() or "",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={project}", "--LabApp.news_url=None",
    ]  # fmt: skip
    with open(home / "lab.log", "w") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2)
                break
            except OSError:
                assert process.poll() is None, (home / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser():
    path = browser_path()
    assert path, "make test-jupyterlab needs a Chrome-family browser (BROWSER_PATH)"
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def opened(lab, browser):
    """A function name → the page of that notebook in JupyterLab, its kernel ready."""
    contexts = []

    def open_notebook(name):
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{lab}/lab/workspaces/{name}/tree/notebooks/{name}.ipynb?token={TOKEN}&reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=120_000)
        page.wait_for_function("() => window.jupyterapp || document.querySelector('.jp-NotebookPanel')")
        kernel(page, "Idle")
        return page

    yield open_notebook
    for context in contexts:
        context.close()
    for one in api(lab, "kernels"):  # each holds half a gigabyte
        api(lab, f"kernels/{one['id']}", "DELETE")


def api(lab, path, method="GET"):
    """Ask JupyterLab's server, and return its answer."""
    request = urllib.request.Request(f"{lab}/api/{path}?token={TOKEN}", method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def kernel(page, state, seconds=120):
    page.wait_for_selector(
        f".jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator[data-status='{state.lower()}']",
        timeout=1000 * seconds, state="attached",
    )  # fmt: skip


def menu(page, *names):
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{names[0]}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{names[1]}")).first.click()


def run_all(page):
    """Choose Run All Cells, again where JupyterLab was not ready for it; done when a cell waits or has run."""
    for _ in range(5):
        page.locator(".jp-NotebookPanel .jp-Cell").first.click()
        menu(page, "Run", "Run All Cells")
        try:
            page.wait_for_function(BEGUN, timeout=10_000)
            return
        except TimeoutError:
            page.keyboard.press("Escape")
    raise AssertionError("Run All Cells did not start")


BEGUN = """() => [...document.querySelectorAll(".jp-InputPrompt")].some((one) => one.textContent.match(/[*0-9]/))"""


def finished(page, name, seconds):
    """Wait for the notebook's last line; fail at once at an error."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if page.locator(".jp-OutputArea-output", has_text=f"NOTEBOOK COMPLETE {name}").count():
            return
        stop_at_errors(page)
        page.wait_for_timeout(500)
    raise AssertionError(f"{name} did not end within {seconds} s")


def everything(page):
    """Show every cell once: JupyterLab draws cells that are out of sight only when they are scrolled to."""
    cells = page.locator(".jp-NotebookPanel .jp-Cell")
    for i in range(cells.count()):
        cells.nth(i).scroll_into_view_if_needed(timeout=10_000)
    page.wait_for_timeout(500)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all(name, opened):
    page = opened(name)
    run_all(page)
    finished(page, name, seconds=900)
    everything(page)
    stop_at_errors(page)
    assert "Traceback" not in page.locator(".jp-Notebook").inner_text()
    if name in FIGURES:
        drawn = page.locator(FIGURE)
        assert drawn.count() > 0 and drawn.first.bounding_box()["width"] > 300
    shown = tables(page)
    assert all(len(row) <= 8 for table in shown for row in table), "no more than eight columns beside the index"
    copy = ROOT / "results" / "notebooks" / "micro" / f"{name}.ipynb"
    if copy.is_file() and name not in SMALL:
        assert shown == committed_tables(copy), "the executed copy shows other numbers"


def tables(page):
    """The tables of the open notebook: the texts of each row's cells."""
    return page.eval_on_selector_all(
        ".jp-RenderedHTMLCommon table",
        "all => all.map((table) => [...table.rows].map((row) => [...row.querySelectorAll('td')]"
        ".map((cell) => cell.textContent.trim())))",
    )


def committed_tables(path):
    """The same of an executed notebook."""
    outputs = [out for cell in json.loads(path.read_text())["cells"] for out in cell.get("outputs", [])]
    texts = ["".join(out.get("data", {}).get("text/html", "")) for out in outputs]
    found = [table for text in texts for table in re.findall(r"(?s)<table.*?</table>", text)]
    rows = [re.findall(r"(?s)<tr.*?</tr>", table) for table in found]
    return [
        [[html.unescape(cell).strip() for cell in re.findall(r"(?s)<td[^>]*>(.*?)</td>", row)] for row in table]
        for table in rows
    ]


def test_a_changed_parameter_trains_anew_and_the_live_figure_grows(opened, project):
    """With a seed of its own notebook 02 trains anew, and its figure has more points each time."""
    page = opened("02_train_grpo")
    change(page, "seed", "7")
    run_all(page)
    seen = []
    for _ in range(1200):
        points = page.evaluate(POINTS)
        seen += [points] if points and points not in seen else []
        stop_at_errors(page)
        if page.locator(".jp-OutputArea-output", has_text="NOTEBOOK COMPLETE 02_train_grpo").count():
            break
        page.wait_for_timeout(300)
    assert len(seen) >= 2 and seen == sorted(seen), f"points of the live figure: {seen}"
    everything(page)
    assert page.locator(FIGURE).count() > 0, "the whole run is shown at the end"
    assert page.evaluate(POINTS) == 0, "in place of the live figure"
    assert training(project, seed=7)["sessions"] == 1


def test_interrupt_and_run_again(opened, project):
    page = opened("02_train_grpo")
    change(page, "seed", "8")
    run_all(page)
    page.wait_for_function(f"() => ({POINTS})() >= 2", timeout=300_000)
    menu(page, "Kernel", "Interrupt Kernel")
    error = page.locator("[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type*='jupyter.error']")
    said = error.filter(has_text="Interrupted after")
    said.wait_for(timeout=120_000)
    [batch] = re.findall(
        r"Interrupted after rollout batch (\d+) of 12, with a checkpoint; run again", said.inner_text()
    )
    assert 2 <= int(batch) < 12 and "Traceback" not in page.locator(".jp-Notebook").inner_text()
    kernel(page, "Idle")
    run_all(page)
    page.wait_for_function(f"() => ({POINTS})() > {batch}", timeout=300_000)  # it goes on, with the batches of before
    finished(page, "02_train_grpo", seconds=600)
    assert training(project, seed=8)["sessions"] == 2


POINTS = """() => { const drawn = document.querySelector(".jp-OutputArea img[src^='data:image/svg']");
  return drawn ? (decodeURIComponent(drawn.src).split("<polyline")[1] || "").split("<circle").length - 1 : 0; }"""
"""Points of the first panel of the live figure: rollout batches that are done."""


def stop_at_errors(page):
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0, errors.first.inner_text()[:2000]


def training(project, seed):
    """The manifest of the finished training with this seed."""
    manifests = [json.loads(path.read_text()) for path in (project.parent / "runs").glob("train-*/manifest.json")]
    [found] = [one for one in manifests if one["config"]["seed"] == seed]
    return found


def change(page, name, value):
    """Type a new value of a parameter into the open notebook."""
    cell = page.locator(".jp-CodeCell", has_text=f"{name}: ").first
    line = cell.locator(".cm-line", has_text=re.compile(f"^{name}: ")).first
    line.click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.type(f"{name}: int = {value}  # changed by hand")
