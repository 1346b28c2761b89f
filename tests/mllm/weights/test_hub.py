"""Models by their hub id: from a server that speaks the hub's protocol, from one that fails, and from none."""

import json
import socket
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic

import huggingface_hub
import pytest
import torch

from spatial_mllm_ros.errors import ErrorCode
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import load_model
from spatial_mllm_ros.mllm.weights import files as checkpoint
from spatial_mllm_ros.mllm.weights.files import ModelError, find_folder

SHA = "0123456789012345678901234567890123456789"


class Hub(BaseHTTPRequestHandler):
    """One model, owner/tiny, as the hub gives it: the commit, the list of files, each file."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(self.path)
        route = self.path.partition("?")[0]
        if self.server.status != 200:
            self.answer(b"", self.server.status)
        elif "/revision/none" in route:
            self.answer(b"", 404, {"X-Error-Code": "RevisionNotFound"})
        elif route.startswith("/api/models/owner/tiny/tree/"):
            files = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": sha1(f.read_bytes()).hexdigest()}
                for f in self.server.files.values()
            ]
            self.answer(json.dumps(files).encode())
        elif route.startswith("/api/models/owner/tiny"):
            self.answer(json.dumps({"id": "owner/tiny", "sha": SHA, "siblings": []}).encode())
        elif (name := route.removeprefix(f"/owner/tiny/resolve/{SHA}/")) in self.server.files:
            self.answer(self.server.files[name].read_bytes())
        else:
            self.answer(b"", 404, {"X-Error-Code": "RepoNotFound"})

    def answer(self, body, status=200, headers=()):
        self.send_response(status)
        etag = {"ETag": f'"{sha1(body).hexdigest()}"', "X-Repo-Commit": SHA, "Content-Length": str(len(body))}
        for name, value in (etag | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Sets the port of the hub on this machine; nothing is in the cache yet."""
    huggingface_hub.close_session()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    def set_port(port):
        address = f"http://127.0.0.1:{port}"
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

    yield set_port
    huggingface_hub.close_session()


@pytest.fixture
def hub(at, tiny, tmp_path):
    (tmp_path / "evil.bin").write_bytes(b"pickled")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files = {f.name: f for f in [*Path(tiny).iterdir(), tmp_path / "evil.bin"]}
        server.status, server.asked = 200, []
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        at(server.server_port)
        yield server
        server.shutdown()
        thread.join(10)


def refusal(hub_id="owner/tiny"):
    with pytest.raises(ModelError) as caught:
        find_folder(hub_id)
    assert caught.value.code == ErrorCode.BAD_REQUEST
    assert caught.value.message.startswith(f"model '{hub_id}': no such folder, and ")
    return caught.value.message


def test_a_model_is_downloaded_once_without_what_is_pickled(hub, tiny):
    loaded, expected = load_model("owner/tiny")[0].state_dict(), load_model(tiny)[0].state_dict()
    assert expected.keys() == loaded.keys() and all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert not any("evil.bin" in path for path in hub.asked)
    assert sum("resolve" in path and "model.safetensors" in path for path in hub.asked) <= 2  # HEAD and GET
    asked = len(hub.asked)
    load_model("owner/tiny")
    assert not any("resolve" in path for path in hub.asked[asked:])


def test_a_revision(hub, tiny):
    """What is asked for is the revision, and which commit that was is known."""
    folder = find_folder("owner/tiny@v1.0")
    assert [path for path in hub.asked if "/revision/" in path] == ["/api/models/owner/tiny/revision/v1.0"]
    assert checkpoint.taken([folder, Path(tiny)]) == f"owner/tiny at revision {SHA}"
    assert checkpoint.taken([Path(tiny)]) == ""
    assert find_folder(f"owner/tiny@{SHA}") == folder
    engine = load_engine("owner/tiny@v1.0", device="cpu")
    assert engine.name == "owner/tiny" and engine.taken == f"owner/tiny at revision {SHA}"


def test_a_revision_that_is_not_there(hub):
    assert "has no revision 'none' of it: expected a commit, a tag or a branch" in refusal("owner/tiny@none")


@pytest.mark.parametrize("name", ["owner/tiny@", "owner/tiny@a b", "owner/tiny@x@y", "owner@x/tiny", "owner/tiny@/x"])
def test_what_is_no_revision(name):
    with pytest.raises(ModelError, match="expected a folder or a hub id owner/name or owner/name@revision"):
        find_folder(name)


def test_the_cache_serves_while_the_hub_is_away(hub, at):
    folder = find_folder("owner/tiny")
    hub.status = 503
    assert find_folder("owner/tiny") == folder
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    at(port)
    assert find_folder("owner/tiny") == folder


def test_a_name_that_the_hub_does_not_know(hub):
    assert "the hub has none of that name that you may read" in refusal("owner/other")


def test_a_hub_that_fails(hub):
    hub.status = 503
    assert refusal().endswith("it is not in the cache, and the hub cannot be reached")


def test_a_hub_that_never_answers(at, monkeypatch):
    monkeypatch.setattr(checkpoint, "HUB_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at(silent.getsockname()[1])
        start = monotonic()
        assert refusal().endswith("it is not in the cache, and the hub cannot be reached")
        assert monotonic() - start < 10
