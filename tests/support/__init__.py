"""What the tests share: tiny models, a corpus, a Hub on the loopback interface, and the ways in which things fail."""
