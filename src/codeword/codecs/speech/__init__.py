"""Speech to ``.cw`` files and back, through a lapped transform under a vector-quantized envelope."""
