"""Autocorrect: rewrites of a program that save energy or mend findings, each proven and gated, none applied unasked."""

from twin_node.autocorrect.propose import REWRITES, Autocorrection, Rewrite, Step, propose

__all__ = ["REWRITES", "Autocorrection", "Rewrite", "Step", "propose"]
