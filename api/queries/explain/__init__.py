"""Explanations of items: the stored row, the arithmetic of the rule, and the present source rows."""
