"""Item to clean row or rejection with reasons; the canonical schema; guards."""
