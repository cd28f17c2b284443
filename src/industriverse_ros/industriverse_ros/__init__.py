"""The ROS glue that every node shares: base node, QoS, names, parameters, conversions."""
