"""From records to token ids: passages, documents, chat turns, roles, batches."""
