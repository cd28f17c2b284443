"""calibrate: step tests, recordings and overlays. Only the part that talks to a running cell needs ROS."""
