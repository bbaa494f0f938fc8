"""What is minimised: scalar functions of network outputs."""
