"""Downloads from a server on this machine: whole, cut short, refused."""

import hashlib
import random
import socket

import pytest
import server as web

from proxyless_lite.zoo import download

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with web.running() as running:
        running.files["/net.pth"] = CONTENT
        yield running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "net.pth"


def complete(path):
    """Raises ValueError for a file that is not all of CONTENT."""
    if path.read_bytes() != CONTENT:
        raise ValueError("it is cut short")


def refused(path, url, match, **settings):
    """Fetching fails in one line that names the address, the path and why, and leaves nothing behind."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(FileNotFoundError, match=match) as error:
        download.fetch(url, path, **settings)
    message = str(error.value)
    assert message.startswith(f"{path} is missing and could not be downloaded from {url} (") and "\n" not in message
    assert message.endswith("; put it there")
    assert list(path.parent.iterdir()) == ([path] if before is not None else [])
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("sha256", [None, SHA256], ids=["no sum", "sum"])
def test_a_file_arrives_whole(server, path, sha256, capsys):
    assert download.fetch(server.url("/net.pth"), path, sha256) == path
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert capsys.readouterr() == ("", "")


def test_a_wrong_checksum_is_refused(server, path):
    refused(path, server.url("/net.pth"), SHA256, sha256="0" * 64)


@pytest.mark.parametrize("settings", [{"sha256": SHA256}, {"check": complete}], ids=["sum", "check"])
def test_a_file_cut_short_is_refused(server, path, settings):
    server.cut = 120_000
    refused(path, server.url("/net.pth"), "invalid hash|cut short", **settings)
    server.cut = None
    download.fetch(server.url("/net.pth"), path, **settings)
    complete(path)


def test_a_failed_download_leaves_an_older_file_alone(server, path):
    path.parent.mkdir()
    path.write_bytes(b"older")
    server.cut = 10
    refused(path, server.url("/net.pth"), "invalid hash", sha256=SHA256)


def test_a_missing_file_is_reported(server, path):
    refused(path, server.url("/absent.pth"), "404")


def test_without_a_connection_the_message_says_what_to_do(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(path, f"http://127.0.0.1:{port}/net.pth", "refused")
