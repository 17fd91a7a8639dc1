"""What comes with the package: two checkpoints, the recipes, and where their base weights are."""
