import numpy as np
import pytest
import torch

from tests.oracles import assert_gradient
from tlp_core.problem import mean_loss
from tlp_core.problems import unet_crf


def brute_force_mean_field(crf, unary, image):
    """Mean field on one tiny image, pixel by pixel, with every other pixel as a neighbour."""
    weights, compatibility = (p.detach().double().numpy() for p in crf.parameters())
    unary, image = unary.double().numpy(), image.double().numpy()
    classes, height, width = unary.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    logits = unary.copy()
    for _ in range(crf.iterations):
        exponentials = np.exp(logits - logits.max(axis=0))
        beliefs = exponentials / exponentials.sum(axis=0)
        logits = np.empty_like(unary)
        for y, x in pixels:
            heard = np.zeros((2, classes))
            total = np.zeros(2)
            for v, u in pixels:
                if (v, u) == (y, x):
                    continue
                place = (v - y) ** 2 + (u - x) ** 2
                colour = ((image[:, v, u] - image[:, y, x]) ** 2).sum()
                kernels = np.array(
                    [
                        np.exp(-place / (2 * crf.alpha**2) - colour / (2 * crf.beta**2)),
                        np.exp(-place / (2 * crf.gamma**2)),
                    ]
                )
                heard += kernels[:, None] * beliefs[:, v, u]
                total += kernels
            mixed = weights @ (heard / total[:, None])
            logits[:, y, x] = unary[:, y, x] - compatibility @ mixed
    return logits


def test_the_crf_is_mean_field_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    unary = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    image = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    crf = unet_crf.CRFasRNN(3, radius=4, iterations=3, alpha=2.0, beta=0.5, gamma=1.0).double()
    with torch.no_grad():
        crf.kernel_weights.copy_(torch.tensor([0.7, -0.3]))
        crf.compatibility.copy_(torch.randn(3, 3, generator=generator))
        refined = crf(unary, image)
    for i in range(2):
        wanted = brute_force_mean_field(crf, unary[i], image[i])
        np.testing.assert_allclose(refined[i].numpy(), wanted, rtol=1e-10)


def test_the_crf_smooths_a_speckle():
    unary = torch.zeros(1, 2, 7, 7)
    unary[:, 0] = 1.0
    unary[0, :, 3, 3] = torch.tensor([0.0, 0.5])
    crf = unet_crf.CRFasRNN(2, radius=2)
    assert unary.argmax(1)[0, 3, 3] == 1
    assert crf(unary, torch.zeros(1, 3, 7, 7)).argmax(1).sum() == 0


def small():
    return unet_crf.make_problem(size=8, images=3, depth=2, width=2, radius=2, seed=1)


def test_the_loss_is_the_cross_entropy_over_pixels_and_everything_is_learned():
    problem = small()
    ((pictures, labels),) = problem.batches
    problem.model.eval()
    logits = problem.model(pictures)
    chances = logits.softmax(1).gather(1, labels[:, None])
    assert mean_loss(problem) == pytest.approx(-chances.log().mean().item(), rel=1e-5)
    problem.loss(problem.model, (pictures, labels)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in problem.model.parameters())


def test_the_gradient_is_that_of_finite_differences():
    problem = small()
    problem.model.eval()
    assert_gradient(problem)


def test_a_unet_of_the_published_size_takes_its_images():
    model = unet_crf.UNet(3, depth=5, width=16).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1.94e6, rel=0.01)


def test_shapes_have_all_three_classes_and_depend_on_the_seed():
    pictures, labels = unet_crf.shapes(32, 5, 0)
    assert pictures.shape == (5, 3, 32, 32)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert all(set(label.unique().tolist()) == {0, 1, 2} for label in labels)
    assert not torch.equal(labels, unet_crf.shapes(32, 5, 1)[1])


def test_without_pets_training_and_testing_have_other_shapes():
    train, test = (unet_crf.segmentation_set("", split, 8) for split in ("trainval", "test"))
    assert len(train) == 320
    assert len(test) == 80
    assert train[0][0].shape == (3, 8, 8)
    assert not torch.equal(train[0][0], test[0][0])


@pytest.fixture
def pets(tmp_path):
    """A folder like that of Oxford-IIIT Pet, with three pictures for training and one to test."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    annotations = tmp_path / "annotations"
    (annotations / "trimaps").mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (20, 10), (255, 0, 50 * i)).save(tmp_path / "images" / f"cat_{i}.jpg")
        Image.new("L", (20, 10), i % 3 + 1).save(annotations / "trimaps" / f"cat_{i}.png")
    (annotations / "trainval.txt").write_text("".join(f"cat_{i} 1 1 1\n" for i in range(3)))
    (annotations / "test.txt").write_text("cat_3 1 1 1\n")
    return tmp_path


def test_pets_are_read_from_their_folder(pets):
    train = unet_crf.segmentation_set(str(pets), "trainval", 8)
    assert len(train) == 3
    for i in range(3):
        picture, labels = train[i]
        assert picture.shape == (3, 8, 8)
        torch.testing.assert_close(
            picture.mean((1, 2)), torch.tensor([1, 0, 50 * i / 255]), atol=0.02, rtol=0
        )
        assert (labels == i).all()
    problem = unet_crf.make_problem(str(pets), size=8, images=1, depth=2, width=2, radius=1)
    assert set(problem.metrics(problem.model)) == {"test loss", "pixel accuracy"}


def test_missing_files_of_the_pets_are_reported(pets):
    with pytest.raises(ValueError, match="images must be <= 3, the number of pictures, got"):
        unet_crf.make_problem(str(pets), size=8, images=4, depth=2)
    (pets / "images" / "cat_1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files of trainval.txt .*cat_1\.jpg"):
        unet_crf.segmentation_set(str(pets), "trainval", 8)
    with pytest.raises(FileNotFoundError, match=r"trainval\.txt does not exist"):
        unet_crf.segmentation_set(str(pets / "images"), "trainval", 8)


def test_a_size_that_does_not_halve_is_reported():
    with pytest.raises(ValueError, match="size must be a multiple of 4, got 10"):
        unet_crf.make_problem(size=10, depth=3)
