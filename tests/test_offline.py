"""tests/offline keeps a process, its children and a notebook's kernel away from the network, and lets loopback through."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

OFFLINE = {"PYTHONPATH": str(Path(__file__).parent / "offline")}
ELSEWHERE = "192.0.2.1"  # reserved for documentation: nobody answers there

CASES = {  # what is tried -> the host that is refused, the code
    "connect": (ELSEWHERE, "import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.1)"),
    "connect_ex": (ELSEWHERE, "import socket; socket.socket().connect_ex(('192.0.2.1', 80))"),
    "ipv6": ("2001:db8::1", "import socket; socket.getaddrinfo('2001:db8::1', 80)"),
    "datagram": (ELSEWHERE, "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))"),
    "message": (ELSEWHERE, "import socket; socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 53))"),
    "look-up": ("example.org", "import socket; socket.getaddrinfo('example.org', 80)"),
    "gethostbyname": ("example.org", "import socket; socket.gethostbyname_ex('example.org')"),
    "bytes": ("example.org", "import socket; socket.getaddrinfo(b'example.org', 80)"),
    "reverse": (ELSEWHERE, "import socket; socket.getnameinfo(('192.0.2.1', 80), 0)"),
    "urllib": ("example.org", "import urllib.request; urllib.request.urlopen('https://example.org')"),
    "asyncio": (ELSEWHERE, "import asyncio; asyncio.run(asyncio.open_connection('192.0.2.1', 80))"),
}


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("host, code", CASES.values(), ids=CASES)
def test_nothing_leaves_this_machine(host, code):
    done = run(code, **OFFLINE)
    assert f"offline: {host!r} was asked for" in done.stderr.replace("b'", "'")


def test_a_child_process_is_kept_here_too():
    look_up = "import socket; socket.gethostbyname('example.org')"
    done = run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {look_up!r}])", **OFFLINE)
    assert "offline: 'example.org' was asked for" in done.stderr


def test_loopback_works():
    done = run("""
import socket
server = socket.create_server(("localhost", 0))
with socket.create_connection(("127.0.0.1", server.getsockname()[1])) as client:
    server.accept()[0].sendall(b"hello")
    print(client.recv(5))
ours, theirs = socket.socketpair()
theirs.sendmsg([b"again"])
print(ours.recv(5))
""", **OFFLINE)
    assert done.stdout == "b'hello'\nb'again'\n", done.stderr


def test_only_where_it_is_asked_for():
    assert "offline" not in run("import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.1)", PYTHONPATH="").stderr


def test_a_notebook_is_kept_off_the_network(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", OFFLINE["PYTHONPATH"])
    code = "import socket\ntry:\n    socket.gethostbyname('example.org')\nexcept OSError as error:\n    print(error)"
    cell = nbformat.v4.new_code_cell(code)
    done = NotebookClient(nbformat.v4.new_notebook(cells=[cell]), kernel_name="python3", timeout=60).execute()
    assert "offline: 'example.org' was asked for" in done.cells[0].outputs[0].text
