"""Names of potentials, where their weights are looked for, and how they are fetched."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from agents.download import DownloadFailed, download
from agents.paths import MissingFile
from agents.relax import matgl, openlam_weights
from agents.relax.openlam_weights import TEST_MODEL, WeightsName, parse_name
from agents.relax.potential import OPENLAM_MODELS, MissingPackage, load_potential

CONTENT = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_the_built_in_names_are_those_deepmd_kit_publishes():
    from deepmd.pretrained.registry import MODEL_REGISTRY

    assert set(OPENLAM_MODELS) == set(MODEL_REGISTRY)


def test_names_heads_and_files_are_told_apart():
    assert parse_name("DPA-3.1-3M:Omat24") == WeightsName("DPA-3.1-3M", None, "Omat24")
    assert parse_name("dpa-3.1-3m") == WeightsName("DPA-3.1-3M", None, None)
    found = parse_name("some/my.model.pt:Omat24")
    assert (str(found.file), found.head, found.title) == ("some/my.model.pt", "Omat24", "my.model")
    assert parse_name("some/frozen.pth").head is None
    for other in ("chgnet", "matgl:TensorNet", "some/folder", "graph.pb", "model.pt.gz"):
        assert parse_name(other) is None


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """A machine without any weights."""
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("deepmd.pretrained.download.DEFAULT_CACHE_DIR", tmp_path / "deepmd")
    return tmp_path


def test_weights_that_are_not_here_are_named_with_the_command_that_fetches_them(no_weights):
    with pytest.raises(MissingFile, match=r"discovery models fetch DPA-3\.1-3M"):
        load_potential("dpa-3.1-3m:Omat24")
    with pytest.raises(MissingFile, match="discovery models fetch matgl:TensorNet-PES-MatPES-PBE"):
        load_potential("matgl:TensorNet-PES-MatPES-PBE-2025.2")
    with pytest.raises(MissingFile, match="there is no file"):
        load_potential(str(no_weights / "model.pt"))
    with pytest.raises(ValueError, match="no name of a matgl model"):
        load_potential("matgl:../somewhere")


def test_a_built_in_name_with_other_weights_is_refused(no_weights):
    folder = no_weights / "models" / "openlam"
    folder.mkdir(parents=True)
    (folder / "DPA-3.1-3M.pt").write_bytes((TEST_MODEL / "model.pt").read_bytes())
    with pytest.raises(ValueError, match=r"sha256 c4ba.* but DPA-3\.1-3M has 86dd3a"):
        load_potential("DPA-3.1-3M:Omat24")


def test_weights_fetched_by_deepmd_kit_itself_are_found(no_weights):
    (no_weights / "deepmd").mkdir()
    path = no_weights / "deepmd" / "DPA-3.2-5M.pt"
    path.touch()
    assert openlam_weights.locate(WeightsName("DPA-3.2-5M", None, None)) == path


def test_without_deepmd_kit_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deepmd.pretrained.registry", None)
    with pytest.raises(MissingPackage, match=r"discovery\[openlam\]"):
        load_potential("DPA-3.1-3M:Omat24")


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; "/cut" ends in the middle, "/other" is another file."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        first = self.headers.get("Range")
        self.asked.append((self.path, first))
        if self.path == "/gone":
            self.send_error(404)
            return
        start = int(first.removeprefix("bytes=").rstrip("-")) if first else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:] if self.path != "/other" else b"another file"
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server of one file."""
    _Server.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_an_interrupted_download_is_continued_from_another_source(server, tmp_path):
    told: list[tuple[int, int | None]] = []
    out = download(
        [f"{server}/gone", f"{server}/cut", f"{server}/file"],
        tmp_path / "new" / "model.pt",
        sha256=DIGEST,
        progress=lambda *numbers: told.append(numbers),
    )
    assert out.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    expected = [("/gone", None), ("/cut", None), ("/file", f"bytes={half}-")]
    assert _Server.asked == expected
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in out.parent.iterdir()] == ["model.pt"]


def test_another_file_than_the_published_one_is_never_put_in_place(server, tmp_path):
    out = tmp_path / "model.pt"
    with pytest.raises(
        DownloadFailed, match=r"model\.pt could not be fetched: .*sha256 .*expected"
    ):
        download([f"{server}/other"], out, sha256=DIGEST)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DownloadFailed, match="404"):
        download([f"{server}/gone"], out, sha256=DIGEST)


def test_fetching_checks_the_published_sum_and_then_needs_no_network(
    server, no_weights, monkeypatch
):
    from deepmd.pretrained.registry import MODEL_REGISTRY

    entry = {"filename": "DPA-3.3-1M.pt", "sha256": DIGEST, "urls": [f"{server}/file"]}
    monkeypatch.setitem(MODEL_REGISTRY, "DPA-3.3-1M", entry)
    path = openlam_weights.fetch("DPA-3.3-1M:Omat24")
    assert path.read_bytes() == CONTENT
    assert openlam_weights.fetch("dpa-3.3-1m") == path
    assert len(_Server.asked) == 1
    with pytest.raises(ValueError, match="OpenLAM has no model 'chgnet'"):
        openlam_weights.fetch("chgnet")


def test_matgl_is_fetched_file_by_file_and_a_dead_hub_is_said(no_weights, monkeypatch):
    asked: list[tuple[str, str]] = []

    def deliver(repository, file, local_dir):
        asked.append((repository, file))
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / file).write_text(json.dumps({"@module": "os", "@class": "system"}))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", deliver)
    folder = matgl.fetch("TensorNet-PES-MatPES-PBE-2025.2")
    assert [file for _, file in asked] == list(matgl.FILES)
    assert {repository for repository, _ in asked} == {
        "materialyze/TensorNet-PES-MatPES-PBE-2025.2"
    }
    assert matgl.locate("TensorNet-PES-MatPES-PBE-2025.2") == folder
    with pytest.raises(ValueError, match="it is a model of os"):
        load_potential("matgl:TensorNet-PES-MatPES-PBE-2025.2")

    def dead(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", dead)
    with pytest.raises(
        DownloadFailed, match=r"no route to host; .*get_available_pretrained_models"
    ):
        matgl.fetch("M3GNet-PES")
