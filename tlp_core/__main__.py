"""The command ``tlp`` as ``python -m tlp_core``."""

import sys

from tlp_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
