"""What flows between the rooms: programs, machine profiles, artefacts, motion planning. No ROS."""
