"""An example of a user's own model: the Problem File of your_model and training_over_time.

python two_moons.py         # trains the model, and writes moons_training/step_*.pt
"""

from pathlib import Path

import torch

from tlp_core import Problem

CHECKPOINTS = Path(__file__).parent / "moons_training"
STEPS = (0, 5, 10, 20, 40, 80, 160, 320)


def make_problem(width=12, noise=0.15):
    """Return the problem: a model, a loss of model and batch, and the batches."""
    import torch

    generator = torch.Generator().manual_seed(0)
    angle = torch.linspace(0, torch.pi, 100)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = torch.cat([upper, lower])
    points += noise * torch.randn(points.shape, generator=generator)
    labels = torch.cat([torch.zeros(100), torch.ones(100)])

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, width),
        torch.nn.Tanh(),
        torch.nn.Linear(width, width),
        torch.nn.Tanh(),
        torch.nn.Linear(width, 1),
    )

    def loss(model, batch):
        x, y = batch
        return torch.nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)

    def metrics(model):
        with torch.no_grad():
            right = ((model(points).squeeze(1) > 0) == (labels > 0.5)).float().mean()
        return {"accuracy": float(right)}

    return Problem(model, loss, [(points, labels)], name="two moons", metrics=metrics)


def train():
    problem = make_problem()
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=0.02)
    CHECKPOINTS.mkdir(exist_ok=True)
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            torch.save(problem.model.state_dict(), CHECKPOINTS / f"step_{step:03}.pt")
        optimizer.zero_grad()
        loss = problem.loss(problem.model, problem.batches[0])
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3g} after {STEPS[-1]} steps, {CHECKPOINTS}")


if __name__ == "__main__":
    train()
