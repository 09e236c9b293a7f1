"""Downloads from a server on this machine: whole, cut, resumed, refused."""

import hashlib
import random
import socket

import pytest

import server as web
from proxyless_lite import download

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


def partial(path):
    return path.with_name("net.pth.partial")


def refused(path, url, match, **settings):
    """Fetching fails in one line that names the address, the path and why."""
    with pytest.raises(FileNotFoundError, match=match) as error:
        download.fetch(url, path, say=lambda line: pytest.fail(f"said {line}"), **settings)
    message = str(error.value)
    assert message.startswith(f"{path} is not there and could not be downloaded from {url} (") and "\n" not in message


def test_a_file_arrives_whole_with_its_checksum(server, path, capsys):
    said = []
    assert download.fetch(server.url("/net.pth"), path, SHA256, said.append) == path
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert said == [f"{path}: 300,000 bytes, SHA-256 {SHA256}"]
    assert "net.pth (MiB) 100 %" in capsys.readouterr().out


def test_the_checksum_is_printed_by_default(server, path, capsys):
    download.fetch(server.url("/net.pth"), path)
    assert SHA256 in capsys.readouterr().out


def test_an_interrupted_download_goes_on_where_it_ended(server, path):
    server.cut = 120_000
    refused(path, server.url("/net.pth"), "180,000 bytes too early.*run again to go on after 120,000 bytes")
    assert not path.exists() and partial(path).read_bytes() == CONTENT[:120_000]
    refused(path, server.url("/net.pth"), "60,000 bytes too early.*go on after 240,000 bytes")
    server.cut = None
    download.fetch(server.url("/net.pth"), path, SHA256)
    assert server.asked == [None, "bytes=120000-", "bytes=240000-"]
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]


def test_progress_of_a_resumed_download_counts_what_was_there(server, path, monkeypatch):
    shown = []
    monkeypatch.setattr(download, "PIECE", 1000)
    monkeypatch.setattr(download.Progress, "step", lambda self: shown.append((self.done, self.total)))
    path.parent.mkdir()
    partial(path).write_bytes(CONTENT[:200_500])
    download.fetch(server.url("/net.pth"), path, SHA256)
    assert shown == [(200, 300)] * 100


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, path):
    server.ranges = False
    path.parent.mkdir()
    partial(path).write_bytes(b"x" * 1000)
    download.fetch(server.url("/net.pth"), path)
    assert server.asked == ["bytes=1000-"] and path.read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more"], ids=["all of it", "too much"])
def test_a_partial_file_with_nothing_to_come_is_begun_anew(server, path, left):
    path.parent.mkdir()
    partial(path).write_bytes(left)
    download.fetch(server.url("/net.pth"), path)
    assert server.asked == ["bytes=%d-" % len(left), None] and path.read_bytes() == CONTENT


def test_another_part_than_asked_for_is_refused(server, path):
    server.shift = 1
    path.parent.mkdir()
    partial(path).write_bytes(CONTENT[:1000])
    refused(path, server.url("/net.pth"), "another part")
    assert partial(path).read_bytes() == CONTENT[:1000]


def test_a_server_that_tells_no_length(server, path):
    server.tell_length = False
    download.fetch(server.url("/net.pth"), path, SHA256)
    assert path.read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_removed(server, path):
    refused(path, server.url("/net.pth"), f"SHA-256 is {SHA256} instead of {'0' * 64}.*; put it there$", sha256="0" * 64)
    assert list(path.parent.iterdir()) == []


def test_a_failed_download_leaves_an_older_file_alone(server, path):
    path.parent.mkdir()
    path.write_bytes(b"older")
    server.cut = 10
    refused(path, server.url("/net.pth"), "too early")
    assert path.read_bytes() == b"older"


def test_a_missing_file_is_told(server, path):
    refused(path, server.url("/absent.pth"), "404.*; put it there$")
    assert list(path.parent.iterdir()) == []


def test_without_a_connection_the_message_says_what_to_do(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(path, f"http://127.0.0.1:{port}/net.pth", "refused.*; put it there$")


def test_a_silent_server_is_left_after_the_timeout(server, path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.cut, server.stall = 0, True
    refused(path, server.url("/net.pth"), "timed out")
