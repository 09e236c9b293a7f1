"""The pretended GPU: does it report, refuse, log and replay what a GPU would?"""

import copy
import io
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pretend_gpu import GPUTensor, PretendGPU


@pytest.fixture
def gpu():
    with PretendGPU() as pretended:
        yield pretended


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 2))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 6, 6, generator=generator), torch.randint(2, (4,), generator=generator)


def train_step(net, optimizer, images, labels):
    """Gradients are zeroed in place, as a graph needs it."""
    optimizer.zero_grad(set_to_none=False)
    loss = F.cross_entropy(net(images), labels, label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    return loss


def kinds(log):
    return [kind for kind, _, _ in log]


# -- devices ----------------------------------------------------------------------------------------------------------

def test_tensors_made_there_or_moved_there_report_cuda_0(gpu):
    generator = torch.Generator("cuda").manual_seed(0)
    tensors = [torch.zeros(3, device="cuda"), torch.tensor([1., 2.], device="cuda"), torch.ones(3).to("cuda:0"), torch.ones(3).cuda(),
               torch.rand(2, generator=generator, device="cuda"), torch.arange(3, device=torch.device("cuda")),
               nn.Linear(2, 2).cuda().weight]
    assert all(t.is_cuda and t.device == torch.device("cuda:0") and isinstance(t, GPUTensor) for t in [t + 1 for t in tensors])
    x = tensors[0]
    assert x.to("cuda") is x and x.cuda() is x and x.to("cuda", torch.float64).dtype == torch.float64
    assert not x.cpu().is_cuda and not torch.zeros_like(x, device="cpu").is_cuda and x.to("meta").is_meta
    assert torch.cuda.is_available() and torch.cuda.get_device_name() == "pretended GPU"


def test_nothing_is_left_behind():
    before = torch.Generator, torch.cuda.is_available(), torch.cuda.Stream, torch.Tensor.pin_memory, torch.is_autocast_enabled
    with PretendGPU():
        assert torch.cuda.is_available()
    assert before == (torch.Generator, torch.cuda.is_available(), torch.cuda.Stream, torch.Tensor.pin_memory, torch.is_autocast_enabled)
    x = torch.ones(3, requires_grad=True)
    x.sum().backward()
    assert type(x.grad) is torch.Tensor and not x.grad.is_cuda


def test_a_mix_of_devices_raises(gpu):
    x, host = torch.ones(3, device="cuda"), torch.ones(3)
    for mix in (lambda: x + host, lambda: host.add_(x), lambda: torch.cat([x, host]), lambda: torch.stack([x.sum(), host.sum()]),
                lambda: nn.Linear(3, 3).cuda()(host), lambda: host.sum().add_(x.sum())):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            mix()
    assert (x * torch.tensor(2.)).tolist() == [2, 2, 2]                   # a number may come from the CPU
    with pytest.raises(RuntimeError, match="'cuda' device type for generator but found 'cpu'"):
        torch.rand(2, generator=torch.Generator(), device="cuda")
    with pytest.raises(RuntimeError, match="'cpu' device type for generator but found 'cuda'"):
        torch.rand(2, generator=torch.Generator("cuda"))
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    with pytest.raises(ValueError, match="with a specified index"):
        torch.cuda.set_device("cuda")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        x.to("cuda:1")
    torch.cuda.set_device("cuda:0")


def test_each_device_has_its_own_random_numbers(gpu):
    def draws(*order):
        torch.manual_seed(0)
        found = {}
        for device in order:
            found[device] = torch.rand(3, device=device).tolist()
        return found

    assert draws("cpu", "cuda") == draws("cuda", "cpu")
    state = torch.cuda.get_rng_state()
    with torch.random.fork_rng():
        torch.rand(3, device="cuda")
    assert torch.equal(state, torch.cuda.get_rng_state())


# -- the log ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, use", [
    ("sync", lambda x, i: x[0].item()), ("sync", lambda x, i: x.tolist()), ("sync", lambda x, i: bool(x[0] > 0)),
    ("sync", lambda x, i: x.nonzero()), ("sync", lambda x, i: x[x > 0]), ("sync", lambda x, i: x[i[0]]),
    ("sync", lambda x, i: torch.multinomial(x, 1)), ("sync", lambda x, i: torch.cuda.synchronize()),
    ("sync", lambda x, i: torch.cuda.Event().synchronize()),
    ("D2H", lambda x, i: x.cpu()), ("D2H", lambda x, i: x.to("cpu")), ("D2H", lambda x, i: torch.zeros(3).copy_(x)),
    ("H2D", lambda x, i: torch.ones(3).to("cuda")), ("H2D", lambda x, i: torch.tensor([1.], device="cuda")),
    ("H2D", lambda x, i: x.copy_(torch.ones(3))), ("H2D", lambda x, i: x[[0, 1]]), ("H2D", lambda x, i: x[torch.tensor([0])]),
    ("H2D", lambda x, i: x.index_put_((i,), torch.tensor(0.)))])
def test_each_wait_is_logged_once_with_its_place(gpu, kind, use):
    x, i = torch.ones(3, device="cuda"), torch.arange(2, device="cuda")
    gpu.clear()
    use(x, i)
    assert kinds(gpu.waits) == [kind] and gpu.waits[0][2].startswith("test_pretend_gpu.py:")


def test_what_does_not_wait(gpu):
    x, i, host = torch.ones(3, device="cuda"), torch.arange(2, device="cuda"), torch.ones(3).pin_memory()
    assert host.is_pinned() and not torch.ones(3).is_pinned()
    gpu.clear()
    x[i], x[1:], x.argmax(), x.isfinite().all(), F.one_hot(i, 3), x.to(torch.float64), torch.zeros_like(x, device="cpu")
    x[i] = x[1:].clone()
    x[x > 0] = 0.                                                         # masked_fill
    x[1:] = 0.                                                            # fill_
    assert gpu.waits == gpu.copies == []
    host.to("cuda", non_blocking=True), x.to("cpu", non_blocking=True), x.copy_(host, non_blocking=True)
    assert gpu.waits == [] and kinds(gpu.copies) == ["H2D", "D2H", "H2D"]


def test_launches_are_counted_without_views(gpu):
    x = torch.empty(2, 3, device="cuda")
    x.zero_().view(3, 2).t()[0].detach()
    torch._foreach_add_([x, x], 1)
    assert gpu.launches == {"zero_": 1, "_foreach_add_": 1}
    gpu.clear()
    assert not gpu.launches


@pytest.mark.parametrize("kind, settings, launches", [
    (torch.optim.SGD, dict(momentum=0.9, fused=True), 1), (torch.optim.Adam, dict(fused=True), 2),  # Adam also counts its steps
    (torch.optim.SGD, dict(momentum=0.9), 3), (torch.optim.SGD, dict(momentum=0.9, foreach=False), 3 * 5)])
def test_optimizers_choose_what_they_choose_on_a_gpu(gpu, kind, settings, launches):
    net = network().cuda()
    optimizer = kind(net.parameters(), lr=0.1, **settings)
    for _ in range(2):                                                    # momentum begins with the second
        net(batch()[0].cuda()).sum().backward()
        gpu.clear()
        optimizer.step()
    assert gpu.launches.total() == launches and gpu.waits == []


def test_events_answer_what_the_test_says(gpu):
    event, stream = torch.cuda.Event(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        assert torch.cuda.current_stream() is stream
        event.record()
    torch.zeros(3, device="cuda").record_stream(stream)
    assert event.query()
    gpu.events_done = False
    assert not event.query() and gpu.waits == []


# -- training ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_training_gives_the_bits_of_the_cpu(gpu, precision):
    def train(device):
        net = network().to(device, memory_format=torch.channels_last)
        net[3].p = 0.                                                     # the devices draw different random numbers
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
        for step in range(3):
            images, labels = (t.to(device) for t in batch(step))
            with torch.autocast(device, precision, enabled=precision is not None):
                loss = F.cross_entropy(checkpoint(net, images, use_reentrant=False), labels)
            loss.backward()
            optimizer.step()
        return {name: t.cpu() for name, t in net.state_dict().items()}

    expected, found = train("cpu"), train("cuda")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_module_keeps_its_parameters_when_it_moves_and_saves_and_copies(gpu):
    net = network()
    parameters = list(net.parameters())
    net.cuda()
    assert all(a is b and isinstance(b, nn.Parameter) and b.is_cuda for a, b in zip(parameters, net.parameters()))
    net(batch()[0].cuda()).sum().backward()
    other = copy.deepcopy(net)
    assert all(torch.equal(a.grad, b.grad) and a.data_ptr() != b.data_ptr() for a, b in zip(net.parameters(), other.parameters()))
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, map_location="cpu", weights_only=True)
    with torch.no_grad():
        other[0].weight.zero_()
    other.load_state_dict(saved)
    assert torch.equal(other[0].weight, net[0].weight) and type(saved["0.weight"]) is torch.Tensor
    assert not net.cpu()[0].weight.is_cuda


def test_checkpointing_draws_dropout_again_and_a_scaler_scales(gpu):
    net, (images, labels) = network().cuda(), (t.cuda() for t in batch())
    state, gradients = torch.cuda.get_rng_state(), []
    for forward in (net, lambda x: checkpoint(net, x, use_reentrant=False)):
        net.zero_grad()
        torch.cuda.set_rng_state(state)
        F.cross_entropy(forward(images), labels).backward()
        gradients.append(net[-1].weight.grad)
    assert torch.equal(*gradients)
    scaler, optimizer = torch.amp.GradScaler("cuda"), torch.optim.SGD(net.parameters(), lr=0.1, fused=True)
    before = net[-1].weight.detach().clone()
    gpu.clear()
    with torch.autocast("cuda", torch.float16):
        logits = net(images)
    assert logits.dtype == torch.float16
    scaler.scale(F.cross_entropy(logits.float(), labels)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert gpu.waits == [] and not torch.equal(net[-1].weight, before)


# -- graphs -----------------------------------------------------------------------------------------------------------

def test_a_replay_reads_its_inputs_again_and_keeps_the_numbers_of_the_capture(gpu):
    x, total, factor = torch.ones(2, device="cuda"), torch.zeros(2, device="cuda"), 2.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=torch.cuda.graph_pool_handle(), stream=torch.cuda.Stream()):
        assert torch.cuda.is_current_stream_capturing()
        y = x * factor
        total += y
    assert y.isnan().all() and total.tolist() == [0, 0]                   # a capture computes nothing
    factor = 100.
    x.copy_(torch.tensor([1., 3.]))
    gpu.clear()
    graph.replay()
    graph.replay()
    assert gpu.waits == [] and gpu.launches == {"graph": 2}
    assert y.tolist() == [2, 6] and total.tolist() == [4, 12]


def test_a_replay_draws_new_random_numbers_from_the_devices_generator(gpu):
    own, graph = torch.Generator("cuda"), torch.cuda.CUDAGraph()
    graph.register_generator_state(own)
    with torch.cuda.graph(graph):
        x, y = torch.rand(4, device="cuda"), torch.rand(4, device="cuda", generator=own)

    def replays(seed):
        torch.manual_seed(seed), own.manual_seed(seed)
        return [(graph.replay(), x.tolist(), y.tolist())[1:] for _ in range(2)]

    first, second = replays(1)
    assert first[0] != second[0] and first[1] != second[1]
    assert replays(1) == [first, second] != replays(2)
    with pytest.raises(RuntimeError, match="register_generator_state"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.rand(4, device="cuda", generator=own)


def test_training_by_replays_gives_the_bits_of_training_step_by_step(gpu):
    def train(captured):
        net, (images, labels) = network().cuda(), (t.cuda() for t in batch())
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
        losses = [train_step(net, optimizer, images, labels).item() for _ in range(2)]
        step = lambda: train_step(net, optimizer, images, labels)         # noqa: E731
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = step()
            step = lambda: (graph.replay(), loss)[1]                      # noqa: E731
        for i in range(3):
            for static, new in zip((images, labels), batch(i)):
                static.copy_(new)
            losses.append(step().item())
        return losses, net.state_dict()

    (expected, weights), (found, replayed) = train(False), train(True)
    assert expected == found and all(torch.equal(weights[name], replayed[name]) for name in weights)


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: x[[0]], lambda x: x.copy_(torch.ones(3)),
                                  lambda x: torch.cuda.synchronize()])
def test_a_wait_during_a_capture_raises(gpu, wait):
    x = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="operation not permitted when stream is capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        wait(x)
    assert x.sum().item() == 3                                            # the capture is over
    with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
        other = threading.Thread(target=x.tolist)
        other.start(), other.join()
    assert gpu.waits[-1][:2] == ("sync", "tolist")


def test_an_asynchronous_copy_is_captured(gpu):
    host, graph = torch.ones(2).pin_memory(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = host.to("cuda", non_blocking=True) * 2
    host.fill_(5)
    graph.replay()
    assert doubled.tolist() == [10, 10]


def test_inference_mode_and_its_capture(gpu):
    net, images = network().cuda().eval(), batch()[0].cuda()
    expected = net(images)
    with torch.inference_mode():
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = net(images)
    graph.replay()
    assert torch.equal(logits, expected)
