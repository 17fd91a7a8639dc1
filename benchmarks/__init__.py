"""One small program per question; what they measured is in README.md."""
