"""Tables of facts, written for this project, that the fact corpus is made from."""
