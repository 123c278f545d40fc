"""The notebook of examples/ runs on a finished campaign, from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from workplace import Workplace

from discovery.figures import FIGURES

NOTEBOOK = Path(__file__).parents[2] / "examples" / "campaign-to-figures.ipynb"


def output_of(cell: nbformat.NotebookNode) -> str:
    """Return what a cell printed."""
    return "".join(one.text for one in cell.outputs if one.output_type == "stream")


@pytest.mark.campaign
def test_the_notebook_goes_from_a_campaign_to_figures(
    finished: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("DISCOVERY_HOME", str(finished.folder / ".discovery"))
    notebook = nbformat.read(NOTEBOOK, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (parameters,) = (one for one in code if "parameters" in one.metadata.get("tags", ()))
    assert parameters.source == 'campaign = "quickstart"'
    parameters.source = 'campaign = "tiny"'

    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()

    printed = "".join(map(output_of, code))
    (verified,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    assert (
        f"{int(verified['verification']['hit'])} hits among 1 candidates verified by DFT" in printed
    )
    pictures = [one for cell in code for one in cell.outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == 3
    drawn = {path.stem for path in (tmp_path / "campaign-figures").glob("*.svg")}
    assert {"funnel", "generations"} <= drawn <= set(FIGURES)
    for name in set(FIGURES) - drawn:
        assert f"{name}: " in printed  # the sentence that says why
