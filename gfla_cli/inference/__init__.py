"""Running a trained network, with torch or ONNX Runtime."""
