"""What is wrong with a machine, and how sure that is: detectors over its streams, fused into named causes."""
