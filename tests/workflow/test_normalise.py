"""What is dropped from an executed notebook, and what stays."""

import sys

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from spurious_rewards.workflow.normalise import main, normalise


def cleaned(*outputs):
    notebook = new_notebook(cells=[new_code_cell("x", outputs=list(outputs), metadata={"papermill": {"duration": 3}})])
    return normalise(notebook).cells[0].outputs


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def test_metadata_and_ids_are_those_of_every_execution():
    notebook = new_notebook(
        cells=[new_code_cell("x", metadata={"tags": ["parameters"], "execution": {"t": "1"}, "papermill": {}})],
        metadata={"papermill": {"duration": 1.5}, "language_info": {"name": "python", "version": "3.11.7"}},
    )
    done = normalise(notebook)
    assert done.cells[0].id == "cell-00" and done.cells[0].metadata == {"tags": ["parameters"]}
    assert set(done.metadata) == {"kernelspec", "language_info"} and done.metadata.language_info == {"name": "python"}
    nbformat.validate(done)


def test_progress_bars_leave_nothing():
    bar = "\r 50%|##  | 1/2 [00:01<00:01,  1.2s/it]\r100%|####| 2/2 [00:02<00:00,  1.1s/it]\nready\n"
    assert cleaned(stream(bar, "stderr"))[0].text == "ready\n"
    assert cleaned(stream("train:   3%|▎         | 1/30 [00:01<00:29]", "stderr")) == []  # cut off by a figure
    assert cleaned(stream("a warning\rtwo\n", "stderr"))[0].text == "twoarning\n", "a terminal shows this"
    assert cleaned(stream("\rbar 1/2\r       \r", "stderr")) == []  # a bar that removes itself leaves nothing
    assert cleaned(stream("[1/2] a list | 1/2 [x]\n"))[0].text == "[1/2] a list | 1/2 [x]\n"  # no bar, untouched


def test_neighbouring_streams_become_one_stdout_and_one_stderr():
    outputs = cleaned(stream("w1\n", "stderr"), stream("a\n"), stream("w2\n", "stderr"), stream("b\n"))
    assert [(output.name, output.text) for output in outputs] == [("stdout", "a\nb\n"), ("stderr", "w1\nw2\n")]
    display = new_output("display_data", data={"text/plain": "figure"})
    outputs = cleaned(stream("a\n"), display, stream("b\n"))
    assert [output.output_type for output in outputs] == ["stream", "display_data", "stream"]


def test_text_png_and_plotly_stay_and_scripts_and_bulk_go():
    kept = {"text/plain": "t", "text/latex": "$x$", "image/png": "iVBO", "application/vnd.plotly.v1+json": {"data": []}}
    more = {"application/vnd.jupyter.widget-view+json": {}, "image/svg+xml": "<svg/>", "application/javascript": "1"}
    assert cleaned(new_output("display_data", data=kept | more))[0].data == kept
    table = {"text/plain": "a", "text/html": "<table></table>"}
    assert cleaned(new_output("display_data", data=table))[0].data == table
    for html in ("<script>1</script>", "<progress value=3>", "x" * 50_001):
        assert cleaned(new_output("display_data", data={"text/plain": "a", "text/html": html}))[0].data == {
            "text/plain": "a"
        }
        gone = {"text/plain": "<IPython.core.display.HTML object>", "text/html": html}
        assert cleaned(new_output("display_data", data=gone)) == []


def test_no_place_process_or_address_stays(project, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", "/scratch/mine")
    assert cleaned(stream("/scratch/mine/a"))[0].text == "runs/a"
    monkeypatch.delenv("SPURIOUS_RUNS_DIR")
    text = f"/tmp/ipykernel_77/123.py:1: w\n{project}/runs/a {project} {sys.prefix}/lib <X at 0x7f1234567890> 0xff\n"
    shown = cleaned(stream(text))[0].text
    assert shown.startswith("<cell>:1: w\nruns/a . ") and shown.endswith("/lib <X at 0x…> 0xff\n")
    assert str(project) not in shown and sys.prefix not in shown


def test_the_outputs_of_sources_are_removed(notebook):
    dirty = notebook("dirty", "1")
    node = nbformat.read(dirty, as_version=4)
    node.cells[2].outputs = [stream("1\n")]
    node.cells[2].execution_count = 1
    nbformat.write(node, dirty)
    assert main([str(dirty)]) == 0
    cell, cleaned_once = nbformat.read(dirty, as_version=4).cells[2], dirty.read_bytes()
    assert not cell.outputs and cell.execution_count is None
    assert main([str(dirty)]) == 0 and dirty.read_bytes() == cleaned_once
    assert nbformat.read(dirty, as_version=4).cells[1].metadata.tags == ["parameters"]
