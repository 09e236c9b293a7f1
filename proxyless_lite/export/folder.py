"""The folder of an export: which files it holds, and which of them may be replaced."""

import json
from pathlib import Path

from .. import runtime
from ..data import pixels

FILES = {"onnx": "network.onnx", "pt2": "network.pt2", "json": "architecture.json", "weights": "weights.pt"}
INT8 = "network-int8.onnx"
PROGRAM = {"predict.py": Path(__file__).with_name("predict.py"), "pixels.py": Path(pixels.__file__)}


def standalone(how, formats):
    """File name -> bytes of the program that runs the exported network without this package; none without preprocessing or ONNX."""
    return {name: path.read_bytes() for name, path in PROGRAM.items()} if how and "onnx" in formats else {}


def written_earlier(out):
    """The files that an earlier export wrote into the folder, by its export.json; architecture.json, which a search writes too, only while it is the same."""
    try:
        told = json.loads((out / "export.json").read_bytes())
        made = {file for file in told["max_difference"] if file in FILES.values()}
    except FileNotFoundError:
        return set()
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{out / 'export.json'} was written by something else, or is damaged; choose another folder, or move it away") from None
    program = PROGRAM if "preprocessing" in told and FILES["onnx"] in made else ()
    file = out / FILES["json"]
    own = "architecture" in told and file.exists() and runtime.digest(file.read_bytes()) == told["architecture"]
    return made.union([INT8] * ("int8" in told), program, [file.name] * own)


def check_own(out, earlier, names, described):
    """Raises ValueError where a file that would be replaced is not of an earlier export."""
    foreign = [out / name for name in names if name not in earlier and (out / name).exists()]
    foreign += [out / name for name, content in described.items() if name not in earlier and (out / name).exists() and (out / name).read_bytes() != content]
    if foreign:
        raise ValueError(f"{foreign[0]} is not of an earlier export, and would be replaced; choose another folder, or move it away")
