"""Multi-hop questions: HotpotQA, 2WikiMultihopQA, MuSiQue, and whatever carries a decomposition."""
