"""The gates: what a program must satisfy before it may run on a machine. docs/gates.md lists the rules."""

from shield_node.gates.registry import Hits, Rule, Seen, check, rule, rules

__all__ = ["Hits", "Rule", "Seen", "check", "rule", "rules"]
