"""Where networks run: the device, its number format, torch or ONNX Runtime."""
