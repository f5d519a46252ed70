"""The line under kills and other faults, compared with an undisturbed twin: `make crash KILLS=100 SEED=1`."""
