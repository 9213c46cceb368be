"""Ready problems, and problems from a user's file."""

READY_PROBLEMS: dict[str, str] = {
    "two-wells": "analytic:two_wells",
    "quadratic-bowl": "analytic:quadratic_bowl",
    "pinn-convection": "pinn_convection:make_problem",
    "modular-addition": "transformer:modular_addition",
    "character-gpt": "transformer:character_gpt",
    "unet-crf": "unet_crf:make_problem",
    "resnet20": "resnet:make_problem",
}
"""Ready names, and the module and function in this package that make the problem."""

HUGGING_FACE = "hf:"
"""Prefix of the folder of a Hugging Face causal language model."""


def is_ready(name: str) -> bool:
    """Return whether a name is that of a ready problem, or of a Hugging Face model."""
    return name in READY_PROBLEMS or name.startswith(HUGGING_FACE)
