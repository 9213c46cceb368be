"""Topological landscape profiles as ParaView filters; see TopologicalLandscapeProfiles.xml."""

import logging
import sys
from pathlib import Path

_NVIDIA = Path("/dev/nvidiactl")
"""Device file of NVIDIA's driver."""

if not _NVIDIA.exists():
    # Torch for CUDA imports triton also where there is no GPU. Its LLVM and that of the software
    # renderer do not go together: the import ends ParaView. Torch does without, if it is not there.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it misses triton
