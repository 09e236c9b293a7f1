"""Weights in files: read without running code, loaded strictly."""

import torch
from torch import nn

from .files import reason_of


def load_weights(model, path, head=True, names=None):
    """Load the state dict in a file, also one under "state_dict", strictly; in the model's own names, or in those of the keys of `names`.

    Without `head` the last linear layer stays as it is: for another number of classes. Raises ValueError in one line for a file
    that cannot be read, and for weights that do not fit.
    """
    state = read_weights(path)
    if not names or not names.keys() & state.keys():
        names = {key: key for key in model.state_dict()}
    if not head:
        last = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]
        own = {key for key, name in names.items() if name.rpartition(".")[0] == last}
        state, names = ({key: value for key, value in entries.items() if key not in own} for entries in (state, names))
    try:
        fill(model, state, names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_weights(path):
    """The state dict in the file at `path`, on the CPU. No code in the file is run. Raises ValueError if there is none."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in zipfile, pickle or torch
        raise ValueError(f"{path} cannot be read as weights ({reason_of(error)}); give a file that torch.save made of model.state_dict()") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no weights: expected a dict of tensors, or one under \"state_dict\"")
    return unwrapped(state)


WRAPPERS = "module.", "_orig_mod."  # what DistributedDataParallel and torch.compile put before every name


def unwrapped(state):
    """The state dict with the names that the network had before it was wrapped."""
    for prefix in WRAPPERS:
        if state and all(key.startswith(prefix) for key in state):
            return unwrapped({key.removeprefix(prefix): value for key, value in state.items()})
    return state


def fill(model, state, names):
    """Load `state`, whose keys `names` maps onto the model's own; what these lack stays as it is."""
    own = model.state_dict()
    state = {key: torch.tensor(0) for key in names if key.endswith("num_batches_tracked")} | state  # PyTorch < 0.4.1 had none
    wrong = [f"{key!r} is missing" for key in names if key not in state]
    wrong += [f"{key!r} is unexpected" for key in state if key not in names]
    wrong += [f"{key!r} is {tuple(state[key].shape)} but must be {tuple(own[name].shape)}"
              for key, name in names.items() if key in state and state[key].shape != own[name].shape]
    if wrong:
        raise ValueError(f"weights do not fit the network: {wrong[0]}{f', and {len(wrong) - 1} more' if wrong[1:] else ''}")
    model.load_state_dict(own | {name: state[key] for key, name in names.items()})
