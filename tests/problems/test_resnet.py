import numpy as np
import pytest
import torch

from tests.oracles import assert_gradient
from tlp_core.problem import mean_loss
from tlp_core.problems import resnet


def plain_block(block, x):
    """A residual block by its formula, in evaluation mode."""

    def normed(norm, values):
        shape = (1, -1, 1, 1)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return (values - norm.running_mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)

    out = torch.nn.functional.conv2d(x, block.first.weight, stride=block.stride, padding=1)
    out = normed(block.norm_first, out).clamp_min(0)
    out = normed(block.norm_second, torch.nn.functional.conv2d(out, block.second.weight, padding=1))
    if block.skip:
        identity = torch.zeros_like(out)
        identity[:, : x.shape[1]] = x[:, :, :: block.stride, :: block.stride]
        out = out + identity
    return out.clamp_min(0)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("after", [4, 8])
def test_a_block_is_its_formula(skip, after):
    torch.manual_seed(0)
    block = resnet.ResidualBlock(4, after, skip=skip).eval()
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(x), plain_block(block, x))


def test_resnet_20_has_its_size():
    model = resnet.ResNet(skip=True)
    assert sum(p.numel() for p in model.parameters()) == 269_722
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in model.modules()) == 20


def test_the_loss_is_the_plain_one_on_digits():
    problem = resnet.make_problem(blocks=1, width=2, images=50, seed=3)
    ((inputs, labels),) = problem.batches
    assert inputs.shape == (50, 1, 8, 8)
    problem.model.eval()
    chances = problem.model(inputs).softmax(1)[torch.arange(50), labels]
    assert mean_loss(problem) == pytest.approx(-chances.log().mean().item(), rel=1e-5)
    assert 0 <= problem.metrics(problem.model)["test accuracy"] <= 1


@pytest.mark.parametrize("skip", [True, False])
def test_the_gradient_is_that_of_finite_differences(skip):
    problem = resnet.make_problem(blocks=1, width=2, images=20, skip=skip, seed=1)
    problem.model.eval()
    torch.manual_seed(0)
    for module in problem.model.modules():  # without a bias, white pixels lie at the kink of ReLU
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, std=0.1)
    assert_gradient(problem)


def test_cifar_10_is_read_from_its_binary_version(tmp_path):
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] = [0, 3, 5, 9]
        records.tofile(tmp_path / name)
    (inputs, labels), (_, test_labels) = resnet.cifar10(str(tmp_path))
    assert inputs.shape == (20, 3, 32, 32)
    assert labels.tolist() == [0, 3, 5, 9] * 5
    assert len(test_labels) == 4
    assert resnet.make_problem(data=str(tmp_path), blocks=1, width=2).name == "ResNet-8"
    records[0, 0] = 200
    records.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(ValueError, match=r"labels of .* must be 0 to 9, got 200"):
        resnet.cifar10(str(tmp_path))
    (tmp_path / "test_batch.bin").write_bytes(b"no")
    with pytest.raises(ValueError, match="must contain records of 3073 bytes"):
        resnet.cifar10(str(tmp_path))
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3\.bin does not exist"):
        resnet.cifar10(str(tmp_path))


def test_label_noise_replaces_the_given_fraction_by_other_classes():
    labels = torch.arange(1000) % 10
    noisy = resnet.noisy_labels(labels, 0.3)
    assert int((noisy != labels).sum()) == 300
    assert torch.equal(noisy, resnet.noisy_labels(labels, 0.3))
    changed = torch.bincount(noisy[noisy != labels], minlength=10)
    assert changed.min() > 10
    assert torch.equal(resnet.noisy_labels(labels, 0), labels)


def test_the_loss_is_that_of_the_noisy_labels():
    arguments = {"blocks": 1, "width": 2, "images": 2000, "seed": 3}
    clean, noisy = (resnet.make_problem(noise=n, **arguments).batches[0][1] for n in (0, 0.4))
    assert float((clean != noisy).double().mean()) == pytest.approx(0.4, abs=1e-3)
    with pytest.raises(ValueError, match=r"noise must be from 0 to 1, got 1.5"):
        resnet.make_problem(noise=1.5, **arguments)
