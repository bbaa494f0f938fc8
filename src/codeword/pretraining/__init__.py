"""Self-supervised pretraining on residual-quantized tokens (BRIDLE), one code path for audio, images and video."""
