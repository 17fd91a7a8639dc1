"""How the bundled entity linker was trained on texts without labels by hand, and what each part of it brings."""
