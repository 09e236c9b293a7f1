"""JupyterLab on this machine and a Chromium without a window: open a notebook, run it, move a control, look at the picture."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "browser-test"
SETTINGS = {  # of JupyterLab: all cells stand in the page, and nothing is asked or fetched
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
CONTROL = "[role=slider], select, input[type=checkbox], .widget-toggle-buttons button:not(.mod-active)"
KEYS = {  # what moves a control: one of these rows of keys
    "slider": (("ArrowRight",), ("ArrowLeft",)),  # it may stand at its end
    "SELECT": (("Space", "ArrowDown", "Enter"), ("Space", "ArrowUp", "Enter")),  # JupyterLab takes arrows from a closed menu
    "button": (("Space",),),
}


@contextmanager
def lab(folder):
    """JupyterLab with `folder` as its root, settings of its own in `folder`/.lab. Yields its address."""
    for name, values in SETTINGS.items():
        file = folder / ".lab" / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {"JUPYTER_CONFIG_DIR": str(folder / ".lab"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".lab" / "workspaces")}
    with open(folder / ".lab" / "server.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
                                   "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
                                   f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"],
                                  cwd=folder, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()  # ends the kernels too
            server.wait(30)


def wait_for(address, server):
    """Until the server answers."""
    for _ in range(300):
        try:
            return urllib.request.urlopen(address, timeout=1)
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.2)
    raise RuntimeError("JupyterLab did not start; its log is .lab/server.log")


def run_all(page, address, name, seconds):
    """Open notebook `name` in Lab, run all its cells, and wait until the kernel rests. Returns the names of errors."""
    kernel = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    page.set_default_timeout(1000 * seconds)
    page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_function(f"{kernel}?.status === 'idle'")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")  # resolves when the last cell has run
    page.wait_for_function(f"{kernel}?.status === 'idle'")
    cells = page.evaluate("jupyterapp.shell.currentWidget.content.model.toJSON().cells")
    return [output["ename"] for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]


def move(page, cell):
    """Move the first control below the cell by keyboard. Returns the source of the picture there, before and after."""
    below = page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-Cell-outputArea")
    picture, control = below.locator("img").first, below.locator(CONTROL).first
    before = picture.get_attribute("src")
    kind = control.evaluate("e => e.role || e.tagName")
    for keys in KEYS.get(kind, KEYS["button"]):
        for key in keys:
            control.press(key)
            page.wait_for_timeout(300)  # a menu opens
        if (after := changed(page, picture, before)) != before:
            break
    return before, after


def changed(page, picture, before, seconds=3):
    """The picture's source once it differs from `before`; `before` itself if it does not within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if picture.count() and (now := picture.get_attribute("src")) != before:
            return now
        page.wait_for_timeout(100)
    return before


def close(page):
    """End the notebook's kernel."""
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
