"""The commands that talk to a running cell. Only node.py imports ROS."""
