"""Query plans of every signal and live query, judged by what the definition asks of them (section 9)."""
