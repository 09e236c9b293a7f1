"""Peak memory as a cost: what every candidate's block keeps alive at once, for limits on a whole network."""

import torch
from torch.nn.utils.rnn import pad_sequence

from .activations import live
from .costs import Costs


class Peaks(Costs):
    """What every candidate's block keeps alive at once, in bytes, while a network runs on one image; a network's is the largest.

    `fixed` is the peak before the first edge.
    """

    def expected(self, net):
        self.check(net.space)
        return self.expected_under(pad_sequence([op.probabilities() for op in net.mixed_ops.values()], batch_first=True))

    def expected_under(self, p):
        """E[max] under independent edges: Σ over the values v of v · (P(max ≤ v) − P(max < v)), P(max ≤ v) = Π_e Σ_{j: m_ej ≤ v} p_ej."""
        matrix = self.matrix_like(p).clamp_min(self.fixed)
        values = matrix.unique()                                               # (V,), ascending
        below = (p * (matrix <= values[:, None, None])).sum(2).prod(1)         # (V,): P(max ≤ v)
        return (values * below.diff(prepend=below.new_zeros(1))).sum()

    def together(self, costs):
        return max([self.fixed, *costs])

    def most_probable(self, p, target, k=1, tolerance=0.05, bins=None):
        raise ValueError("a network's peak memory is that of its largest block, so it has limits but no target; give objective.Limits")


def peaks(space) -> Peaks:
    """The Peaks of a space whose edges follow each other.

    Raises ValueError for one in which several edges run while another's output waits: there ask each network, Architecture.peak_memory.
    """
    sizes = [len(edge.candidates) for edge in space.edges()]
    found = [segments(space, [min(j, n - 1) for n in sizes]) for j in range(max(sizes))]
    rows = [[found[j][1 + e] for j in range(n)] for e, n in enumerate(sizes)]
    made = Peaks(space, max(one[0] for one in found), rows, "bytes")
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        paths = [torch.randint(n, (), generator=draw).item() for n in sizes]
        if max(segments(space, paths)) != made.cost_of(paths):
            raise ValueError(f"in {space} what is alive depends on several edges at once; ask each network, Architecture.peak_memory()")
    return made


def segments(space, paths):
    """Peaks of the network with these paths: before the first edge, and from each edge's operation on until the next one's."""
    found, order = [0.0] * (1 + len(paths)), iter(enumerate(paths))
    current = [0]

    def fill(edge):
        number, path = next(order)
        operation = edge.operation(edge.candidates[path])

        def begin(*_):
            found[current[0]] = max(found[current[0]], counter.restart())
            current[0] = 1 + number
        operation.register_forward_pre_hook(begin)
        return operation
    with torch.device("meta"):
        network, image = space.network(fill).eval(), torch.empty(1, 3, space.input_size, space.input_size)
    with live(image) as counter:
        network(image)
    found[current[0]] = max(found[current[0]], counter.peak)
    return found
