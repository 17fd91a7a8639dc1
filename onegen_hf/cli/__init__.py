"""The command `onegen-hf`."""
