"""Demo data: invented tenants and agents, every row of them marked `is_synthetic`."""
