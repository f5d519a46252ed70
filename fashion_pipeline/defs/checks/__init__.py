"""Asset checks: contracts block, heuristics warn."""
