"""What every command line needs: options read from arguments and files, and text that is safe to print."""
