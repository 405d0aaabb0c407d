import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from handloom.parallel import Parts, threads

PICTURES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def plain() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))


def gradients(net: nn.Module, parts: int) -> tuple[float, list[Tensor]]:
    batches = PICTURES.split(len(PICTURES) // parts)
    loss = Parts(net, parts).backward(lambda twin, part: twin(batches[part]).square().mean())
    return float(loss), [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


def test_parts_give_the_loss_and_gradient_of_the_whole_batch() -> None:
    (whole_loss, whole), (loss, cut) = gradients(plain(), 1), gradients(plain(), 3)
    assert abs(loss - whole_loss) < 1e-6
    assert len(whole) == len(cut) == 4
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, cut, strict=True))


def test_a_step_of_the_net_moves_its_twins() -> None:
    net = plain()
    parts = Parts(net, 2)
    parts.backward(lambda twin, part: twin(PICTURES).square().mean())
    torch.optim.SGD(net.parameters(), 0.5).step()
    assert torch.equal(parts.nets[1](PICTURES), net(PICTURES))


def test_the_first_part_alone_feeds_the_averages_of_batch_norm() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=1.0), nn.Conv2d(3, 1, 1))
    Parts(net, 2).backward(lambda twin, part: twin(PICTURES + part).mean())
    assert torch.allclose(net.state_dict()["0.running_mean"], PICTURES.mean(dim=(0, 2, 3)))


def test_the_number_of_threads_comes_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


FIRST_CALLS = """
import os
from threading import Barrier, Thread
import torch
from handloom.parallel import settle

torch.set_num_threads(1)
values = torch.rand(64, generator=torch.Generator().manual_seed(0))
settle()


def forked():  # a process in which no thread has computed yet
    said, begin = [], Barrier(4)
    threads = [Thread(target=lambda: (begin.wait(), said.append(torch.cos(values)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all(torch.equal(each, torch.cos(values)) for each in said)


wrong = 0
for _ in range(1000):
    if not (child := os.fork()):
        os._exit(not forked())
    wrong += os.waitpid(child, 0)[1] != 0
print(wrong)
"""


@pytest.mark.slow
def test_threads_that_begin_together_are_told_the_same() -> None:
    """Without `settle` 2 to 10 of 1,000 processes (AVX-512) have a thread that is told another."""
    own = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", FIRST_CALLS], capture_output=True, text=True, env=own)
    assert done.stdout == "0\n", done.stderr
