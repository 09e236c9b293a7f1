"""Weights in files: read without running code, loaded strictly."""

import torch


def load_weights(model, path):
    """Load the state dict in a file, also one under "state_dict", in the model's own names. Strict.

    Raises ValueError in one line for a file that cannot be read, and for weights that do not fit.
    """
    state = read_weights(path)
    try:
        fill(model, state, {key: key for key in model.state_dict()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_weights(path):
    """The state dict in the file at `path`, on the CPU. No code in the file is run. Raises ValueError if there is none."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in zipfile, pickle or torch
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ValueError(f"{path} cannot be read as weights ({reason}); give another file, or move this one away") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no weights: expected a dict of tensors, or one under \"state_dict\"")
    return state


def fill(model, state, names):
    """Load `state`, whose keys `names` maps onto the model's own."""
    own = model.state_dict()
    state = {key: torch.tensor(0) for key in names if key.endswith("num_batches_tracked")} | state  # PyTorch < 0.4.1 had none
    wrong = [f"{key!r} is missing" for key in names if key not in state]
    wrong += [f"{key!r} is unexpected" for key in state if key not in names]
    wrong += [f"{key!r} is {tuple(state[key].shape)} but must be {tuple(own[name].shape)}"
              for key, name in names.items() if key in state and state[key].shape != own[name].shape]
    if wrong:
        raise ValueError(f"weights do not fit the network: {wrong[0]}{f', and {len(wrong) - 1} more' if wrong[1:] else ''}")
    model.load_state_dict({name: state[key] for key, name in names.items()})
