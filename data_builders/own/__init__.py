"""Your own texts as documents, and your own questions and answers as examples."""
