"""Bags: record a cell, look at a recording, play it again, or decide it again. Only node.py imports rclpy."""
