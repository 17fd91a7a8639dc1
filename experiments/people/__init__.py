"""
One model for questions that people wrote: a retrieval stage, then a joint one, and what they bring.

`prepare` turns dataset repositories into token ids, `train` runs both stages within a given time, `retrieval` measures
recall on development splits, `minilm` the same with a sentence encoder.
"""
