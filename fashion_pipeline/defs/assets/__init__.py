"""The assets, by the stage that they belong to."""
