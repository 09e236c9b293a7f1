"""SuperNet: a network whose edges are MixedOps; sample paths, freeze weights, derive the result (§3.1, §3.2)."""

import copy
from collections.abc import Iterable, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from .architecture import Architecture
from .mixed_op import MixedOp, Path, Probe, frozen_statistics, normalisations
from .spaces import Space


class SuperNet(nn.Module):
    """The over-parameterised network of a space, or of any module that holds MixedOps.

    `mixed_ops` maps an edge's name to its MixedOp, in network order. A matrix over edges and paths, (E, N) below, has
    N the largest number of candidates; where an edge has fewer, the rest of its row has probability 0.

    The weights of a space are drawn with `seed`; with None by PyTorch's global generator. Raises ValueError if there is no
    MixedOp in the module, one within another, or an α that two of them share.
    """

    def __init__(self, space: Space | nn.Module, seed: int | None = None):
        super().__init__()
        self.space = space if isinstance(space, Space) else None
        with seeded(seed):
            self.network: nn.Module = space.supernet() if isinstance(space, Space) else space
        for convolution in self.network.modules():
            if isinstance(convolution, nn.Conv2d):
                convolution.to(memory_format=torch.channels_last)
        found = {name: m for name, m in self.network.named_modules() if isinstance(m, MixedOp)}
        if not found:
            raise ValueError(f"{type(space).__name__} holds no MixedOp: there is nothing to search")
        for name, op in found.items():
            if any(isinstance(m, MixedOp) for m in op.candidates.modules()):
                raise ValueError(f"edge {name!r} holds another MixedOp among its candidates; an edge's candidates must be plain")
        owners: dict = {}
        for name, op in found.items():
            if (other := owners.setdefault(id(op.alpha), name)) != name:
                raise ValueError(f"edges {other!r} and {name!r} share one α, but each would draw a path of its own; use one MixedOp in "
                                 f"both places, with candidates that hold the weights of both")
        names = [edge.name for edge in self.space.edges()] if self.space else found
        self.mixed_ops = dict(zip(names, found.values(), strict=True))
        self.list_parts()

    def forward(self, *inputs):
        return self.network(*inputs)

    def list_parts(self):
        """List once what belongs to each path, so that inactive paths cost nothing in a step."""
        edges = self.mixed_ops.values()
        for op in edges:
            op.list_normalisations()
        self._of_path = [[_Part(o) for o in op.candidates] for op in edges]
        self._fixed = _Part(self.network)
        sizes = [len(op.names) for op in edges]
        self._exists = torch.tensor([[j < n for j in range(max(sizes))] for n in sizes], device="cpu")  # (E, N)

    def _apply(self, fn, recurse=True):  # .to(device) and the like may replace parameters
        super()._apply(fn, recurse)
        self.list_parts()
        return self

    def load_state_dict(self, *arguments, **settings):  # with assign=True it replaces them, too
        found = super().load_state_dict(*arguments, **settings)
        self.list_parts()
        return found

    # -- α ----------------------------------------------------------------------------------------------------------

    def architecture_parameters(self) -> list[torch.Tensor]:
        """The α of every edge: a list of parameters, each (N,)."""
        return [op.alpha for op in self.mixed_ops.values()]

    @torch.no_grad()
    def alpha_matrix(self) -> torch.Tensor:
        """All α as one detached matrix (E, N) on the CPU, −∞ where an edge has no such path."""
        flat = torch.cat(self.architecture_parameters())
        return flat.new_full(self._exists.shape, -torch.inf).masked_scatter_(self._exists, flat)

    def probability_matrix(self) -> torch.Tensor:
        """All p = softmax(α) as one detached matrix (E, N) on the CPU."""
        return self.alpha_matrix().softmax(1)

    @torch.no_grad()
    def set_alpha(self, matrix: torch.Tensor):
        """Write a matrix (E, N) back into the α of every edge."""
        torch._foreach_copy_(self.architecture_parameters(), self._rows(matrix))

    def set_alpha_gradient(self, matrix: torch.Tensor):
        """Set the gradients of every edge's α to the rows of a matrix (E, N), but of one that requires none."""
        alphas = self.architecture_parameters()
        for alpha, row in zip(alphas, self._rows(matrix.to(alphas[0]))):
            alpha.grad = row if alpha.requires_grad else None

    def _rows(self, matrix):
        """The rows of a matrix (E, N), each as long as its edge has paths."""
        return [row[:len(op.names)] for row, op in zip(matrix, self.mixed_ops.values())]

    def probabilities(self) -> dict[str, torch.Tensor]:
        """Edge name -> p, shape (N,), detached."""
        return {name: op.probabilities().detach() for name, op in self.mixed_ops.items()}

    def entropy(self) -> float:
        """Mean entropy of p over the edges, in nats: log N when uniform, 0 when decided."""
        return torch.special.entr(self.probability_matrix()).sum(1).mean().item()

    # -- gates ------------------------------------------------------------------------------------------------------

    def sample(self, generator: torch.Generator | None = None) -> list[int]:
        """Draw one path per edge from p (Eq. 2), in one batched draw, and make it active (Eq. 3).

        Returns the indices, a list of E ints. `generator` is on the CPU.
        """
        paths = torch.multinomial(self.probability_matrix(), 1, generator=generator)[:, 0].tolist()
        self.activate(paths)
        return paths

    def activate(self, paths: Sequence[int] | Architecture):
        """Make path `paths[e]` the only one of edge e; an Architecture may be given instead of indices.

        Raises ValueError for another number of paths, and for a path or an operation that its edge does not have.
        """
        for op, i in zip(self.mixed_ops.values(), self.paths_of(paths), strict=True):
            op.gate = Path(i)

    def paths_of(self, network: Sequence[int] | Architecture) -> list[int]:
        """The index of a network's path on every edge; raises ValueError as `activate`."""
        given: Sequence = network.choices if isinstance(network, Architecture) else network
        if len(given) != len(self.mixed_ops):
            raise ValueError(f"{len(given)} paths given, but the network has {len(self.mixed_ops)} edges; give one per edge")
        if isinstance(network, Architecture):
            return [index_of(choice, op, edge) for choice, (edge, op) in zip(given, self.mixed_ops.items())]
        for i, (edge, op) in zip(given, self.mixed_ops.items()):
            if i not in range(len(op.names)):
                raise ValueError(f"edge {edge!r} has no path {i!r}; give 0 to {len(op.names) - 1}")
        return list(given)

    def probe(self, active: Sequence[int], others: Sequence[Sequence[int]]):
        """Set a Probe on every edge: path active[e] runs, the paths others[e] are probed in backward."""
        for op, i, js in zip(self.mixed_ops.values(), active, others, strict=True):
            op.gate = Probe(i, js)

    def gates(self) -> list[str]:
        """What every edge computes, in words: a list of strings."""
        return [repr(op.gate) for op in self.mixed_ops.values()]

    def gate_gradient_parts(self):
        """After backward under Probe: ∂L/∂g of every probed path of every edge, a list of scalar tensors."""
        return [value for op in self.mixed_ops.values() for value in getattr(op.gate, "grad", {}).values()]

    def gate_gradients(self) -> torch.Tensor:
        """After backward under Probe: ∂L/∂g as a matrix (E, N) where the network computes, 0 where a path was not probed."""
        probed = [op.gate.grad for op in self.mixed_ops.values()]
        none = next(value for grad in probed for value in grad.values()).new_zeros(())
        edges, paths = self._exists.shape
        return torch.stack([grad.get(j, none) for grad in probed for j in range(paths)]).view(edges, paths)

    # -- weights ----------------------------------------------------------------------------------------------------

    def weight_parameters(self) -> list[nn.Parameter]:
        """All weights: everything but α."""
        return list(dict.fromkeys(self._fixed.parameters + [p for edge in self._of_path for path in edge for p in path.parameters]))

    def active_parameters(self) -> list[nn.Parameter]:
        """The weights that the present gates use, each once. Listing them does not take longer with more candidates."""
        return list(dict.fromkeys(p for part in self._active() for p in part.parameters))

    @contextmanager
    def frozen(self):
        """A context for the α step: active weights get no gradient, and no batch statistics are updated."""
        parts = self._active()
        parameters = [p for part in parts for p in part.parameters if p.requires_grad]
        for p in parameters:
            p.requires_grad_(False)
        try:
            with frozen_statistics(list(dict.fromkeys(layer for part in parts for layer in part.normalisations))):
                yield
        finally:
            for p in parameters:
                p.requires_grad_(True)

    def _active(self):
        parts = [self._fixed]
        for op, edge in zip(self.mixed_ops.values(), self._of_path):
            parts += [edge[i] for i in op.gate.paths(op)]
        return parts

    # -- result -----------------------------------------------------------------------------------------------------

    def derive(self, objective=None, tolerance: float | None = 0.05) -> Architecture:
        """The Architecture of the most probable path of every edge (§3.2.1: prune all others).

        With an `objective` that has a target: of all networks whose cost is within `tolerance` of the target, the most probable
        one (see objective.Objective). Raises ValueError where no such network is found, and for costs of another space.
        """
        paths = self.best_paths() if objective is None else objective.most_probable(self, tolerance=tolerance)[0]
        return Architecture(self.space, tuple(op.names[i] for op, i in zip(self.mixed_ops.values(), paths)))

    def best_paths(self) -> list[int]:
        """argmax of α for every edge, a list of E ints."""
        return self.alpha_matrix().argmax(1).tolist()

    def prune(self, architecture: Architecture | None = None, batches: Iterable | None = None) -> nn.Module:
        """A copy of the network with one path per edge, weights kept: those of an Architecture, by default the most probable ones.

        Its batch norms have the running statistics of a search that drew many networks, with which it is worse in evaluation mode.
        Give `batches` of training inputs, such as data.eval_batches(data.train, 250), and they are recomputed. Raises ValueError
        for an Architecture that does not fit.
        """
        paths = self.best_paths() if architecture is None else self.paths_of(architecture)
        pruned = copy.deepcopy(self.network)
        chosen = dict(zip([op for op in pruned.modules() if isinstance(op, MixedOp)], paths))
        for name, op in list(pruned.named_modules(remove_duplicate=False)):
            if isinstance(op, MixedOp):
                path = op.candidates[chosen[op]]
                parent, _, attribute = name.rpartition(".")
                if name:
                    setattr(pruned.get_submodule(parent), attribute, path)
                else:  # the network is one MixedOp
                    pruned = path
        if batches is not None:
            update_bn(batches, pruned)
        return pruned

    def check(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the output for one image (C, H, W), by meta tensors: nothing is computed.

        Raises ValueError, naming the edge, where a candidate does not fit or gives another shape than the rest.
        """
        with torch.no_grad():
            return tuple(self.checking().to("meta")(torch.empty(2, *input_shape, device="meta")).shape[1:])

    def checking(self) -> "SuperNet":
        """A copy in evaluation mode, every edge of which runs all its candidates and raises as `check`."""
        trial = copy.deepcopy(self).eval()
        for name, op in trial.mixed_ops.items():
            op.gate = _CheckShapes(name)
        return trial


@contextmanager
def seeded(seed):
    """A context with PyTorch's global generator seeded, then restored; with None nothing is done."""
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield


def index_of(choice, op, edge):
    """The index of an operation among the candidates of an edge. Raises ValueError naming the edge if it is not among them."""
    if choice not in op.names:
        raise ValueError(f"edge {edge!r} has no candidate {choice!r}; allowed: {', '.join(op.names)}")
    return op.names.index(choice)


class _Part:
    """The weights and batch norms of one path, or of everything in a network that runs outside its edges."""

    def __init__(self, module):
        outside = list(dict.fromkeys(outside_edges(module)))
        self.parameters = [p for m in outside for p in m.parameters(recurse=False)]
        self.normalisations = normalisations(outside)


def outside_edges(module):
    """Yields a module and those in it, but no MixedOp and nothing below one."""
    if not isinstance(module, MixedOp):
        yield module
        for child in module.children():
            yield from outside_edges(child)


class _CheckShapes:
    def __init__(self, edge):
        self.edge = edge

    def __call__(self, op, *x):
        outputs, given = {}, " and ".join(str(tuple(tensor.shape[1:])) for tensor in x)
        for name, o in zip(op.names, op.candidates):
            try:
                outputs[name] = o(*x)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(f"edge {self.edge!r}: candidate {name!r} does not take {given} ({reason})") from None
        shapes = {name: tuple(y.shape[1:]) for name, y in outputs.items()}
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"edge {self.edge!r}: candidates give different shapes from {given}: {told}")
        return next(iter(outputs.values()))
