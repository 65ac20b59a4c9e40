"""PyTorch, eager, on the CPU."""

from __future__ import annotations

from benchmarks.peers.programs.reading import batches
from benchmarks.peers.programs.task import Clock, Task


def sgd(task: Task, clock: Clock) -> None:
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Linear(10, 1).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    loss = torch.nn.MSELoss()
    for X, y in batches(task, clock):
        optimizer.zero_grad()
        loss(model(torch.from_numpy(X)).squeeze(1), torch.from_numpy(y)).backward()
        optimizer.step()
    clock.weights = model.weight.detach().numpy()[0]
