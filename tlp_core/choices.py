"""Every choice among names, once: the command line, the panel and the checks read it here.

This module imports no torch, so that ``tlp --help`` and ParaView's panel stay fast.
"""

from __future__ import annotations

from typing import Literal, get_args

Dtype = Literal["float32", "float64"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

Autocast = Literal["bfloat16", "float16"]
AUTOCASTS: tuple[Autocast, ...] = get_args(Autocast)

# stage 1

HessianMethod = Literal["pyhessian", "lanczos"]
HESSIAN_METHODS: tuple[HessianMethod, ...] = get_args(HessianMethod)

HessianProduct = Literal["autograd", "finite-difference"]
HESSIAN_PRODUCTS: tuple[HessianProduct, ...] = get_args(HessianProduct)

DirectionMethod = Literal["pyhessian", "lanczos", "random", "gradient", "trajectory", "checkpoints"]
DIRECTION_METHODS: tuple[DirectionMethod, ...] = get_args(DirectionMethod)

SpectrumOrder = Literal["magnitude", "algebraic", "both-ends"]
SPECTRUM_ORDERS: tuple[SpectrumOrder, ...] = get_args(SpectrumOrder)

Normalization = Literal["none", "model", "layer", "filter"]
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)

# stage 2

Region = Literal["box", "ball"]
REGIONS: tuple[Region, ...] = get_args(Region)

EngineName = Literal["single", "batched", "compiled"]

EngineChoice = Literal[EngineName, "fastest"]
ENGINES: tuple[EngineChoice, ...] = get_args(EngineChoice)

BatchNorm = Literal["stored", "reestimated"]
BATCH_NORMS: tuple[BatchNorm, ...] = get_args(BatchNorm)

# stage 3

GridRule = Literal["axis", "diagonal", "moore", "freudenthal"]
GRID_RULES: tuple[GridRule, ...] = get_args(GridRule)

KnnRule = Literal["mutual", "union"]
KNN_RULES: tuple[KnnRule, ...] = get_args(KnnRule)

KnnMethod = Literal["exact", "nn-descent"]
KNN_METHODS: tuple[KnnMethod, ...] = get_args(KnnMethod)

# stage 4 and after

SiblingOrder = Literal["width", "depth"]
SIBLING_ORDERS: tuple[SiblingOrder, ...] = get_args(SiblingOrder)

ProfileWidth = Literal["samples", "n-th root"]
PROFILE_WIDTHS: tuple[ProfileWidth, ...] = get_args(ProfileWidth)

Panel = Literal["profile", "landscape", "diagram"]
PANELS: tuple[Panel, ...] = get_args(Panel)

DiagramDistance = Literal["bottleneck", "wasserstein"]
DIAGRAM_DISTANCES: tuple[DiagramDistance, ...] = get_args(DiagramDistance)

ChangeNull = Literal["autoregressive", "independent"]
CHANGE_NULLS: tuple[ChangeNull, ...] = get_args(ChangeNull)

RecorderDirections = Literal["random", "gradient", "eigenvectors"]
RECORDER_DIRECTIONS: tuple[RecorderDirections, ...] = get_args(RecorderDirections)

RecorderRanks = Literal["first", "all"]
RECORDER_RANKS: tuple[RecorderRanks, ...] = get_args(RecorderRanks)

SurfaceQuantity = Literal["train_loss", "test_loss", "train_acc", "test_acc"]
SURFACE_QUANTITIES: tuple[SurfaceQuantity, ...] = get_args(SurfaceQuantity)

ExperimentSize = Literal["quick", "medium", "full"]
EXPERIMENT_SIZES: tuple[ExperimentSize, ...] = get_args(ExperimentSize)
