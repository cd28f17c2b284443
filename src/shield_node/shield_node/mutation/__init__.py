"""Mutation test of the gates: dangerous edits, an independent model of harm, and the campaign that counts."""
