"""Time the networks of a kit on this device: python run.py

Needs Python 3.8, NumPy and one runtime. Writes one CSV, a row per visit as it is made; how it times is how the package times (rounds.py).
"""

import argparse
import hashlib
import json
import math
import os
import platform
import random
import re
import statistics
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np

PASSES = 2        # alternating timed passes of item and reference in a visit; the shortest of each counts
SHORTEST = 2e-3   # seconds; an item that takes less is repeated within a pass
CERTAIN = 7       # visits before an item may be called certain
RECENT = 15       # visits whose median reference time says how fast the device is now
COOLING = 20      # seconds of each pause for a device that has become slow
COLUMNS = "round,item,ms,reference_ms"
MAY_DIFFER = {"rounds", "precision", "date", "machine", "system", "python"}  # where a run goes on; an update of the system changes the last two


# -- the protocol, which the package uses too ---------------------------------------------------------------------------

def visit(run, reference):
    """Milliseconds of two functions that run once and return seconds: a warm-up, then PASSES turns of both; the shortest counts."""
    repeats = math.ceil(SHORTEST / max(run(), 1e-7))
    turns = [(sum(run() for _ in range(repeats)) / repeats, reference()) for _ in range(PASSES)]
    return tuple(1e3 * min(times) for times in zip(*turns))


def certain_items(rows, precision):
    """The items whose median ratio is already known to `precision`, a relative standard error. `rows`: (round, item, ms, reference ms)."""
    ratios = {}
    for _, i, ms, reference in rows:
        ratios.setdefault(i, []).append(ms / reference)
    return {i for i, seen in ratios.items() if precision > 0 and len(seen) >= CERTAIN and standard_error(seen) <= precision}


def standard_error(values):
    """Relative standard error of the median, from the median absolute deviation: 1.2533 · 1.4826 · MAD / √n."""
    middle = statistics.median(values)
    spread = statistics.median(abs(v - middle) for v in values)
    return 1.2533 * 1.4826 * spread / math.sqrt(len(values)) / middle


def order(seed, round_number, count):
    """The order in which a round visits its items."""
    return random.Random(seed * 1_000_003 + round_number).sample(range(count), count)


# -- runtimes: from files and threads to a function that runs the network, array to array ---------------------------------

def onnxruntime(files, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino(files, threads):
    from openvino import Core
    how = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = Core().compile_model(files[0], "CPU", how).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True)[0]


def ncnn(files, threads):
    import ncnn
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.load_param(files[0])
    net.load_model(files[1])
    def run(x):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]).clone())  # it may compute in place
        return np.array(extractor.extract("out0")[1])[None]
    return run


def litert(files, threads):
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(files[0], num_threads=threads)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    def run(x):
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        return interpreter.get_tensor(made)
    return run


RUNTIMES = {  # name: (function, format of its files, package)
    "onnxruntime": (onnxruntime, "onnx", "onnxruntime"), "onnxruntime-int8": (onnxruntime, "int8", "onnxruntime"),
    "openvino": (openvino, "onnx", "openvino"), "ncnn": (ncnn, "ncnn", "ncnn"), "litert": (litert, "litert", "ai_edge_litert")}
CHANNELS_LAST = "litert"    # the format whose inputs and outputs are (1, H, W, C)
EXACT, COARSE = 2e-3, 0.25  # tolerated difference from PyTorch, of the largest output: of float, and of int8 on random inputs


def prepared(runtime, files, threads, shape, expected):
    """A function that runs a network once and returns seconds; its output is compared with PyTorch's first. Raises Refused."""
    make, kind, package = RUNTIMES[runtime]
    try:
        run, x = make([str(file) for file in files], threads), example(shape)
    except ImportError:
        raise Refused(f"{package} is not installed here: pip install {package.replace('_', '-')}") from None
    except Exception as error:  # each runtime has its own
        raise Refused(f"{package} {release(package)} does not read {Path(files[0]).name}, install a newer one: {' '.join(str(error).split())[:150]}") from None
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if kind == CHANNELS_LAST else x
    output = run(x)
    output = output.transpose(0, 3, 1, 2) if kind == CHANNELS_LAST and output.ndim == 4 else output
    off = np.abs(sampled(output) - np.float32(expected)).max() / max(np.abs(expected).max(), 1e-30)
    if not off <= (COARSE if kind == "int8" else EXACT):
        raise Refused(f"{Path(files[0]).name}: {runtime} computes something else than PyTorch did, by {off:.2g} of the largest output; nothing was timed")

    def timed():
        began = time.perf_counter()
        run(x)
        return time.perf_counter() - began
    return timed


def example(shape):
    """The input of an item, the same on every machine."""
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def sampled(output, count=64):
    """Values of an output, evenly spread over it, and the one of largest magnitude."""
    flat = np.asarray(output, dtype=np.float32).ravel()
    return np.append(flat[np.linspace(0, flat.size - 1, count).astype(int)], np.abs(flat).max())


# -- the kit and its results ---------------------------------------------------------------------------------------------

class Refused(Exception):
    """What ends a run in one line."""


def verified(kit):
    """The manifest of a kit, and the SHA-256 of its list of checksums, which names this kit. Raises Refused, naming the file."""
    if not (kit / "SHA256SUMS").exists():
        raise Refused(f"{kit} has no SHA256SUMS: it is not a whole kit; copy it once more")
    listed = (kit / "SHA256SUMS").read_bytes()
    told = dict(line.partition("  ")[::-2] for line in listed.decode("utf-8", "replace").splitlines())  # of a line that was cut the name is ""
    for name in ("manifest.json", *told):
        if not (kit / name).is_file() or hashlib.sha256((kit / name).read_bytes()).hexdigest() != told.get(name):
            raise Refused(f"{kit / name} is missing, or was changed or cut; copy the kit once more")
    return json.loads((kit / "manifest.json").read_text("utf-8")), hashlib.sha256(listed).hexdigest()


def opened(path, identity):
    """The file of results, locked, to be appended to, and its rows so far. Raises Refused where it belongs to another measurement."""
    file = open(path, "a", encoding="utf-8", newline="\n")
    try:
        with suppress(ImportError):  # on Windows
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(f"another run.py is writing {path}; wait for its end, or stop it") from None
    saved = path.read_bytes()
    if not saved:
        file.write(f"# {json.dumps(identity, ensure_ascii=False)}\n{COLUMNS}\n")
        file.flush()
        return file, []
    whole = saved.rfind(b"\n") + 1  # what follows was cut while it was written
    try:
        lines = saved[:whole].decode().splitlines()
        there, here = ({**about, **about.get("machine", {})} for about in (json.loads(lines[0][1:]), identity))
        visits = [line.split(",") for line in lines[lines.index(COLUMNS) + 1:]]
        rows = [(int(r), int(i), float(ms), float(reference)) for r, i, ms, reference in visits]
    except (ValueError, IndexError, TypeError, AttributeError):
        raise Refused(f"{path} is not a file of results; give another --out, or move it away") from None
    for key in sorted(here.keys() - MAY_DIFFER):
        if there.get(key) != here[key]:
            raise Refused(f"{path} holds results of another {key}: {there.get(key)} there, {here[key]} now; give another --out, or move it away")
    file.truncate(whole)
    return file, rows


def machine(package):
    """What identifies this device."""
    told = {"processor": processor(), "system": platform.platform(), "python": platform.python_version(), package: release(package)}
    with suppress(OSError):
        told["governor"] = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    return told


def release(package):
    """The version of a runtime, whatever the name under which it was installed."""
    return getattr(sys.modules[package], "__version__", None) or version(package.replace("_", "-"))


def processor():
    """The name of the board or of the processor."""
    for path, pattern in (("/proc/device-tree/model", "[^\\0\\n]+"), ("/proc/cpuinfo", "(?<=model name\\t: ).+"), ("/proc/cpuinfo", "(?<=Hardware\\t: ).+")):
        with suppress(OSError, AttributeError):  # where it cannot be read, or says nothing of that
            return re.search(pattern, Path(path).read_text("utf-8", "replace")).group().strip()
    return platform.processor() or platform.machine()


# -- a run -----------------------------------------------------------------------------------------------------------------

class Steady:
    """Watches the reference network: a device that has become slow is given time, and then refused."""
    def __init__(self, drift):
        self.drift, self.times, self.best, self.slower = drift, [], math.inf, 1.0

    def note(self, reference_ms):
        """`slower` is the median of the last RECENT times over the least that such a median has been."""
        self.times = [*self.times, reference_ms][-RECENT:]
        if len(self.times) == RECENT:
            self.best = min(self.best, statistics.median(self.times))
            self.slower = statistics.median(self.times) / self.best

    def wait(self, reference):
        """Raises Refused when the device stays slow."""
        pauses = 6
        while self.slower > self.drift and (pauses := pauses - 1) >= 0:
            print(f"the reference network takes {self.slower:.2f} times as long as at best: waiting {COOLING} s for the device")
            time.sleep(COOLING)
            for _ in range(RECENT):
                self.note(1e3 * min(reference() for _ in range(PASSES)))
        if self.slower > self.drift:
            raise Refused(f"the reference network takes {self.slower:.2f} times as long as at best: the device is throttling or busy; cool it, close other "
                      f"programs and run again, the visits are kept; or accept it by --drift")


def measure(kit, out, runtime, threads, rounds, precision, drift):
    """Time all items of a kit into the file `out`."""
    manifest, identity = verified(kit)
    _, kind, package = RUNTIMES[runtime]
    if kind not in manifest["formats"]:
        raise Refused(f"this kit has no files for {runtime}; it has {', '.join(manifest['formats'])}")
    items = [prepared(runtime, [kit / file for file in each["files"][kind]], threads, each["shape"], each["expected"]) for each in manifest["items"]]
    reference, count = items[manifest["reference"]], len(items)
    about = {"kit": identity, "device": runtime, "threads": threads, "batch": manifest["batch"], "seed": manifest["seed"], "rounds": rounds,
             "precision": precision, "machine": machine(package), "date": time.strftime("%Y-%m-%d")}
    file, rows = opened(out, about)
    print(f"going on after {len(rows)} visits in {out}" if rows else f"{count} networks, at most {rounds} visits of each")
    done, steady, began, kept, shown = {(r, i) for r, i, _, _ in rows}, Steady(drift), time.time(), len(rows), time.time()
    for *_, reference_ms in rows:
        steady.note(reference_ms)
    with file:
        for r in range(rounds):
            certain = certain_items(rows, precision)
            for i in order(manifest["seed"], r, count):
                if (r, i) in done or i in certain:
                    continue
                rows.append((r, i) + visit(items[i], reference))
                file.write(",".join(map(repr, rows[-1])) + "\n")  # with all digits: a measurement that goes on has the same numbers
                file.flush()
                steady.note(rows[-1][3])
                steady.wait(reference)
                if time.time() - shown > 10:
                    shown = time.time()
                    left = math.ceil((rounds - r) * (count - len(certain)) * (shown - began) / (len(rows) - kept) / 60)
                    print(f"round {r + 1} of at most {rounds}, {len(certain)} of {count} networks certain, at most {left} min left")
            os.fsync(file.fileno())
    print(f"{len(rows)} visits in {out}; take it to where the kit was made: proxyless-latency import {out.name} --kit <kit> --out table.csv")


def parser():
    line = argparse.ArgumentParser(description="Time this kit's networks here; run again to go on.", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    line.add_argument("--runtime", default="onnxruntime", choices=list(RUNTIMES), help="what runs the networks")
    line.add_argument("--threads", type=int, default=1, help="of the runtime")
    line.add_argument("--rounds", type=int, default=30, help="at most this many visits of each network")
    line.add_argument("--precision", type=float, default=0.01, help="stop visiting a network when its relative standard error is below this")
    line.add_argument("--drift", type=float, default=1.5, help="refuse a device that has become slower than this, relative to its best")
    line.add_argument("--out", type=Path, help="CSV to write; default: results-<runtime>.csv in the present folder")
    return line


def main():
    args = parser().parse_args()
    sys.stdout.reconfigure(errors="replace", line_buffering=True)  # a log that takes only ASCII must not end a run
    try:
        if min(args.threads, args.rounds) < 1 or args.drift <= 1:
            raise Refused("--threads and --rounds must be at least 1, --drift more than 1")
        measure(Path(__file__).resolve().parent, **dict(vars(args), out=args.out or Path(f"results-{args.runtime}.csv")))
    except (Refused, OSError) as error:
        return f"error: {error}"
    except KeyboardInterrupt:
        print("stopped; run again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
