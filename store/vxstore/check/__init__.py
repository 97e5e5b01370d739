"""Verifying a store, and marking what is damaged for re-recording."""
