"""PyTorch modules with a fixed input/output contract, and how they become checked ONNX."""
