"""Training texts for entity linking without labels by hand: passages of an encyclopedia that name its titles."""
