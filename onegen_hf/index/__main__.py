"""`accelerate launch -m onegen_hf.index` is the command `onegen-hf index`, once per process."""

import sys

from ..cli.main import main

if __name__ == "__main__":
    main(["index", *sys.argv[1:]])
