"""`python -m onegen_hf` is the command `onegen-hf`."""

from .cli.main import main

if __name__ == "__main__":
    main()
