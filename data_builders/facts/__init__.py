"""The fact corpus: passages and questions made from tables of facts that were written for this project."""
