"""What `onegen-hf` and `python -m onegen_hf` run."""

import sys


def main() -> None:
    """Run the command of this process."""
    try:
        # Imported here, so that Ctrl-C shows no traceback in the meantime.
        from .cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("onegen-hf: interrupted\n")
        sys.exit(130)  # as `onegen_hf.cli.errors.INTERRUPTED`
    run()


if __name__ == "__main__":
    main()
