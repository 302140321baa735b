"""`python -m napari_local_ncc` is `local-ncc`."""

import sys

from napari_local_ncc.cli import main

if __name__ == "__main__":
    sys.exit(main())
