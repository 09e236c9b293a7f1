"""A web server on this machine, for tests of downloads."""

import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class Server(ThreadingHTTPServer):
    """Serves `files` (path -> bytes); `asked` lists the Range header of each request, None where there was none."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.closing = {}, [], Event()
        self.ranges = True     # understand Range
        self.shift = 0         # bytes by which a part begins too late
        self.tell_length = True
        self.cut = None        # close the connection after so many bytes
        self.stall = False     # then say nothing more instead of closing it

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        content = server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + server.shift if asked and server.ranges else 0
        if first and first >= len(content):
            return self.send_error(416)
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if server.tell_length:
            self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:][:server.cut])
        if server.stall:
            server.closing.wait(10)

    def log_message(self, *_):
        pass


@contextmanager
def running():
    """A Server for the time of a test."""
    with Server() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()
