"""Check the query plans of every signal and live query (docs/specification-notes.md#query-plan-expectations)."""
